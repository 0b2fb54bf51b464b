-- rescue: takes back jobs whose lease ran out: their worker is dead, frozen or cut off.
-- ARGV  1 how many at most
-- RETURNS {rescued, poisoned, stopped}
local now, rescued, poisoned, stopped = now_ms(), 0, 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.leases, '-inf', whole(now), 'LIMIT', 0, ARGV[1])) do
  local job = redis.call('HMGET', K.job(id), 'status', 'stopping', 'deployment')
  if job[1] == 'IN_PROGRESS' then
    redis.call('HSET', K.job(id), 'fence', '') -- from here on its worker is a zombie
    if mourn(id, now, S.rescued_error) == 'poison' then poisoned = poisoned + 1 else rescued = rescued + 1 end
  else
    if job[2] then
      redis.call('HSET', K.job(id), 'stopped_at', whole(now), 'stopped_by', 'killed')
      redis.call('HDEL', K.job(id), 'stopping')
      stopped = stopped + 1
    end
    if job[3] then free_slot(id, job[3]) else redis.call('ZREM', K.leases, id) end
  end
end
return {rescued, poisoned, stopped}
