-- take_deliveries: takes due webhook deliveries under a lease; a sender that dies gives them back that way.
-- ARGV  1 how many at most   2 lease ms   3 token of this taking
-- RETURNS a list of {request_id, attempts so far, record as a flat list, output}
local now, taken = now_ms(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.outbox, '-inf', whole(now), 'LIMIT', 0, ARGV[1])) do
  local record = redis.call('HGETALL', K.job(id))
  if #record == 0 then
    redis.call('ZREM', K.outbox, id)
  else
    redis.call('ZADD', K.outbox, whole(now + tonumber(ARGV[2])), id)
    redis.call('HSET', K.delivery(id), 'token', ARGV[3])
    local attempts = redis.call('HGET', K.delivery(id), 'attempts')
    taken[#taken + 1] = {id, attempts, record, redis.call('GET', K.output(id)) or ''}
  end
end
return taken
