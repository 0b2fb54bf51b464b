#!lua flags=allow-oom
-- reprioritize: moves a QUEUED job to another level, behind its own API key's jobs there.
-- ARGV  1 request_id   2 api key id or '' for any   3 level
-- RETURNS 'moved' | 'unchanged' | 'not_queued' | 'missing'
local id, owner, level = ARGV[1], ARGV[2], ARGV[3]
local job = redis.call('HMGET', K.job(id), 'status', 'key', 'deployment', 'member', 'level')
if not job[1] or (owner ~= '' and job[2] ~= owner) then return 'missing' end
if job[1] ~= 'QUEUED' then return 'not_queued' end
if job[5] == level then return 'unchanged' end
local score = whole(fair_score(job[3], level, job[2], 1))
redis.call('HSET', K.job(id), 'level', level, 'score', score)
for _, place in ipairs({K.queue(job[3]), K.held(job[3]), held_by(job[3], job[2])}) do
  redis.call('ZADD', place, 'XX', score, job[4]) -- XX: it is in one of them, or waits out its backoff
end
return 'moved'
