#!lua flags=allow-oom
-- batch_take: the turn at the batch that has waited longest for one. A batch whose window is over is to end.
-- ARGV  1 fence of the turn
-- RETURNS {} | {id, record as a flat list, list of parts whose lines are jobs, ms until its window is over}
local now = now_ms()
local id = redis.call('ZRANGEBYSCORE', K.batches, '-inf', whole(now), 'LIMIT', 0, 1)[1]
if not id then return {} end
local batch = redis.call('HMGET', K.batch(id), 'status', 'ending', 'deadline')
if not batch[1] then
  redis.call('ZREM', K.batches, id)
  return {}
end
local left = batch[3] - now
local runs = batch[1] == 'validating' or batch[1] == 'in_progress'
if left <= 0 and runs and batch[2] == '' then redis.call('HSET', K.batch(id), 'ending', 'expired') end
redis.call('HSET', K.batch(id), 'fence', ARGV[1])
redis.call('ZADD', K.batches, whole(now + TURN_MS), id)
return {id, redis.call('HGETALL', K.batch(id)), redis.call('SMEMBERS', K.batch_parts(id)), whole(math.max(left, 0))}
