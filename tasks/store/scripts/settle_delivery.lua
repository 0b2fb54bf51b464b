#!lua flags=allow-oom
-- settle_delivery: records one webhook attempt, only for the sender that took it: delivered, to be tried again, or given up.
-- ARGV  1 request_id   2 token   3 'delivered' | 'retry' | 'failed'
--       4 delay ms until the next attempt   5 the attempt as JSON
-- RETURNS 'done' | 'stale' | 'missing'
local id, token, verdict, delay_ms, attempt = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local now = now_ms()
local delivery = redis.call('HMGET', K.delivery(id), 'token', 'log')
if not delivery[1] then return redis.call('EXISTS', K.delivery(id)) == 1 and 'stale' or 'missing' end
if delivery[1] ~= token then return 'stale' end
redis.call('HDEL', K.delivery(id), 'token')
redis.call('HINCRBY', K.delivery(id), 'attempts', 1)
redis.call('HSET', K.delivery(id), 'log', with_error(delivery[2], attempt))
local job = fields(id, 'deployment', 'finished')
if is_counted(job[1] or '') then
  count(job[1], 'webhook:' .. verdict .. ':' .. (string.match(attempt, '"status": ?(%d)') or '-'), 1)
  if verdict == 'delivered' then measure(job[1], 'delivery:', wall_ms() - job[2]) end
end
if verdict == 'retry' then
  redis.call('ZADD', K.outbox, whole(now + delay_ms), id)
  return 'done'
end
redis.call('ZREM', K.outbox, id)
redis.call('HSET', K.delivery(id), 'status', verdict == 'delivered' and 'SUCCEEDED' or 'FAILED')
if verdict == 'failed' then redis.call('ZADD', K.exhausted, whole(wall_ms()), id) end
tell(id, 'webhook')
return 'done'
