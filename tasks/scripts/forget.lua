-- forget: drops the records whose retention is over.
-- ARGV  1 how many at most
-- RETURNS how many went; one whose webhook is still due stays for another hour at a time
local due = redis.call('ZRANGEBYSCORE', K.forget, '-inf', whole(now_ms()), 'LIMIT', 0, ARGV[1])
local gone = 0
for _, id in ipairs(due) do
  if redis.call('ZSCORE', K.outbox, id) then
    redis.call('ZADD', K.forget, whole(now_ms() + 3600000), id)
  else
    local api_key = redis.call('HGET', K.job(id), 'key')
    if api_key then redis.call('ZREM', K.jobs(api_key), id) end
    redis.call('DEL', K.job(id), K.input(id), K.output(id), K.events(id), K.delivery(id))
    redis.call('ZREM', K.exhausted, id)
    redis.call('ZREM', K.forget, id)
    gone = gone + 1
  end
end
return gone
