#!lua flags=allow-oom
-- switch: points an environment at its candidate, which is warm.
-- ARGV  1 model   2 environment   3 deployment
-- RETURNS 'switched' | 'stale' (it is not the candidate any more)
local environment = R.environment(ARGV[1] .. ':' .. ARGV[2])
if redis.call('HGET', environment, 'candidate') ~= ARGV[3] then return 'stale' end
changed()
local previous = redis.call('HGET', R.environments(ARGV[1]), ARGV[2])
redis.call('HSET', R.environments(ARGV[1]), ARGV[2], ARGV[3])
redis.call('HSET', environment, 'previous', previous, 'switched', whole(wall_ms()))
redis.call('HDEL', environment, 'candidate')
local still = false
for _, id in ipairs(redis.call('HVALS', R.environments(ARGV[1]))) do still = still or id == previous end
if previous and not still then
  redis.call('HSET', R.deployment(previous), 'retired', 1)
  edit(previous)
end
return 'switched'
