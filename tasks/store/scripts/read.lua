#!lua flags=allow-oom
-- read: one job as its owner may see it, with its place in the queue and what is needed to estimate its end.
-- ARGV  1 request_id   2 owner's api key id, '' = any owner   3 status calls a minute, 0 = no limit   4 api key id that the call counts for
-- RETURNS {'found', record as a flat list, jobs ahead or -1, webhook status or '', run times ms, when up to 64 running jobs started, now ms, '' | 'paused' | 'key_limit', ms of backoff left} | {'missing'}
-- | {'throttled', ms}
local id, owner, per_minute = ARGV[1], ARGV[2], ARGV[3]
local wait = throttle('status', ARGV[4], per_minute, 1, now_ms())
if wait > 0 then return {'throttled', wait} end
if not is_of(owner, id) then return {'missing'} end
local job = redis.call('HMGET', K.job(id), 'status', 'deployment', 'member', 'webhook', 'score', 'not_before')
local ahead, runtimes, started, hold = -1, {}, {}, ''
if job[1] == 'QUEUED' then
  ahead, hold = jobs_ahead(job[2], job[3], job[5]), why_held(job[2], job[3])
end
if job[1] == 'QUEUED' or job[1] == 'IN_PROGRESS' then
  runtimes = redis.call('LRANGE', K.runtimes(job[2]), 0, 31)
  for _, other in ipairs(redis.call('SRANDMEMBER', K.running(job[2]), 64)) do
    started[#started + 1] = redis.call('HGET', K.job(other), 'started')
  end
end
local webhook = job[4] and (redis.call('HGET', K.delivery(id), 'status') or 'PENDING') or ''
return {'found', redis.call('HGETALL', K.job(id)), ahead, webhook, runtimes, started, whole(wall_ms()), hold,
  whole(math.max((job[6] or 0) - now_ms(), 0))}
