-- expire: QUEUED -> EXPIRED for jobs that waited too long for their first claim, worker or no worker.
-- ARGV  1 how many at most
-- RETURNS how many expired
local now, expired = now_ms(), 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.expiry, '-inf', whole(now), 'LIMIT', 0, ARGV[1])) do
  local job = redis.call('HMGET', K.job(id), 'status', 'deployment', 'member')
  if job[1] == 'QUEUED' then
    redis.call('ZREM', K.queue(job[2]), job[3])
    finalize(id, 'EXPIRED', now, S.expired_error)
    expired = expired + 1
  else
    redis.call('ZREM', K.expiry, id)
  end
end
return expired
