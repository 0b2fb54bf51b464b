#!lua flags=allow-oom
-- forget: drops the records whose retention is over.
-- ARGV  1 how many at most
-- RETURNS how many went; one whose webhook is still due stays for another hour at a time
local now, gone = now_ms(), 0
local due = redis.call('ZRANGEBYSCORE', K.forget, '-inf', whole(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  if redis.call('ZSCORE', K.outbox, id) then
    redis.call('ZADD', K.forget, whole(now + 3600000), id)
  else
    local job = redis.call('HMGET', K.job(id), 'key', 'output_ref')
    if job[1] then redis.call('ZREM', K.jobs(job[1]), id) end
    if job[2] then discard(job[2], now) end
    redis.call('DEL', K.job(id), K.input(id), K.output(id), K.events(id), K.delivery(id))
    redis.call('ZREM', K.exhausted, id)
    redis.call('ZREM', K.forget, id)
    gone = gone + 1
  end
end
return gone
