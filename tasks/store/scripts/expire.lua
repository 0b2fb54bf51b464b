#!lua flags=allow-oom
-- expire: QUEUED -> EXPIRED for jobs that waited too long for their first claim, worker or no worker.
-- ARGV  1 how many at most
-- RETURNS how many expired
local now, expired = now_ms(), 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.expiry, '-inf', whole(now), 'LIMIT', 0, ARGV[1])) do
  if redis.call('HGET', K.job(id), 'status') == 'QUEUED' then
    unqueue(id)
    finalize(id, 'EXPIRED', now, S.expired_error)
    expired = expired + 1
  else
    redis.call('ZREM', K.expiry, id)
  end
end
return expired
