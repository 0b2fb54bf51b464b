-- read: one job as its owner may see it, with its place in the queue and what is needed to guess its end.
-- ARGV  1 request_id   2 api key id or '' for any   3 calls a minute, 0 = any
-- RETURNS {'found', record as a flat list, jobs ahead or -1, webhook status or '', run times ms, when up to 64 running jobs started, now ms, '' | 'paused' | 'key_limit', ms of backoff left} | {'missing'}
-- | {'throttled', ms}
local id = ARGV[1]
local wait = throttle('status', ARGV[2], ARGV[3], 1, now_ms())
if wait > 0 then return {'throttled', wait} end
local job = redis.call('HMGET', K.job(id), 'key', 'status', 'deployment', 'member', 'webhook', 'score', 'not_before')
if not job[1] or (ARGV[2] ~= '' and job[1] ~= ARGV[2]) then return {'missing'} end
local ahead, runtimes, started, hold = -1, {}, {}, ''
if job[2] == 'QUEUED' then
  ahead = redis.call('ZRANK', K.queue(job[3]), job[4])
    or redis.call('ZCOUNT', K.queue(job[3]), '-inf', '(' .. job[6]) -- held, or in its backoff: as if it stood there
  if redis.call('ZSCORE', K.held(job[3]), job[4]) then hold = 'key_limit' end
  if redis.call('SISMEMBER', K.paused, job[3]) == 1 then hold = 'paused' end
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
