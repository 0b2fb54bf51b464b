#!lua flags=allow-oom
-- end_backoffs: attempts whose backoff is over go back into their queues, in deployments where one is due.
-- ARGV  1 how many at most, attempts and deployments
-- RETURNS how many attempts
local now, most, moved = now_ms(), tonumber(ARGV[1]), 0
for _, deployment in ipairs(redis.call('ZRANGEBYSCORE', K.retries, '-inf', whole(now), 'LIMIT', 0, most)) do
  if moved >= most then break end
  moved = moved + end_backoffs(deployment, now, most - moved)
  local first = redis.call('ZRANGE', K.delayed(deployment), 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', K.retries, first[2], deployment) else redis.call('ZREM', K.retries, deployment) end
end
return moved
