#!lua flags=allow-oom
-- scale: records how many replicas a deployment should have, and whether it waits for its first one (`needy`).
-- ARGV  1 deployment   2 wanted   3 load   4 '1' when it has work   5 '1' when it has a replica that does not drain
--       6 '1' when one is ready
-- RETURNS 'scaled' | 'inactive'
local id, now = ARGV[1], whole(wall_ms())
if redis.call('HGET', R.deployment(id), 'active') ~= '1' then return 'inactive' end
local before = redis.call('HGET', R.deployment(id), 'wanted') or '0'
if before ~= ARGV[2] then changed() end
if before == '0' and ARGV[2] ~= '0' then redis.call('HINCRBY', R.load_counts(id), 'woken', 1) end
redis.call('HSET', R.deployment(id), 'wanted', ARGV[2], 'load', ARGV[3])
if ARGV[4] == '1' then redis.call('HSET', R.deployment(id), 'used', now) end
if ARGV[6] == '1' then
  redis.call('HSET', R.deployment(id), 'served', 1)
  forgive(id)
end
if not gave_up(id) then redis.call('HDEL', R.deployment(id), 'gave_up') end -- its rest is over
if not gave_up(id) and ARGV[4] == '1' and ARGV[5] == '0' and redis.call('ZCARD', R.seats(id)) == 0 then
  redis.call('ZADD', R.needy, 'NX', now, id)
else
  redis.call('ZREM', R.needy, id)
end
edit(id)
return 'scaled'
