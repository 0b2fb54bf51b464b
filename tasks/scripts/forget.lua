-- forget: drops the records whose retention is over.
-- ARGV  1 how many at most
-- RETURNS how many went
local due = redis.call('ZRANGEBYSCORE', K.forget, '-inf', whole(now_ms()), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local api_key = redis.call('HGET', K.job(id), 'key')
  if api_key then redis.call('ZREM', K.jobs(api_key), id) end
  redis.call('DEL', K.job(id), K.input(id), K.output(id), K.events(id), K.delivery(id))
  redis.call('ZREM', K.outbox, id)
  redis.call('ZREM', K.forget, id)
end
return #due
