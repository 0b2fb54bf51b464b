#!lua flags=allow-oom
-- read: one job as its owner may see it, with its place in the queue and what is needed to guess its end.
-- ARGV  1 request_id   2 api key id or '' for any   3 calls a minute, 0 = any
-- RETURNS {'found', record as a flat list, jobs ahead or -1, webhook status or '', run times ms, when up to 64 running jobs started, now ms, '' | 'paused' | 'key_limit', ms of backoff left} | {'missing'}
-- | {'throttled', ms}
local id, owner, per_minute = ARGV[1], ARGV[2], ARGV[3]
local wait = throttle('status', owner, per_minute, 1, now_ms())
if wait > 0 then return {'throttled', wait} end
local job = redis.call('HMGET', K.job(id), 'key', 'status', 'deployment', 'member', 'webhook', 'score', 'not_before')
if not job[1] or (owner ~= '' and job[1] ~= owner) then return {'missing'} end
local ahead, runtimes, started, hold = -1, {}, {}, ''
if job[2] == 'QUEUED' then
  ahead, hold = jobs_ahead(job[3], job[4], job[6]), why_held(job[3], job[4])
end
if job[2] == 'QUEUED' or job[2] == 'IN_PROGRESS' then
  runtimes = redis.call('LRANGE', K.runtimes(job[3]), 0, 31)
  for _, other in ipairs(redis.call('SRANDMEMBER', K.running(job[3]), 64)) do
    started[#started + 1] = redis.call('HGET', K.job(other), 'started')
  end
end
local webhook = job[5] and (redis.call('HGET', K.delivery(id), 'status') or 'PENDING') or ''
return {'found', redis.call('HGETALL', K.job(id)), ahead, webhook, runtimes, started, whole(wall_ms()), hold,
  whole(math.max((job[7] or 0) - now_ms(), 0))}
