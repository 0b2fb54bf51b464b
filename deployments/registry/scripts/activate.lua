#!lua flags=allow-oom
-- activate: lets a deployment run, or takes its replicas away; its queued jobs wait.
-- ARGV  1 deployment   2 '1' to activate, '0' to deactivate
-- RETURNS 'changed' | 'unchanged' | 'missing'
local deployment = R.deployment(ARGV[1])
if redis.call('EXISTS', deployment) == 0 then return 'missing' end
if redis.call('HGET', deployment, 'active') == ARGV[2] then return 'unchanged' end
redis.call('HSET', deployment, 'active', ARGV[2], 'wanted', ARGV[2])
redis.call('HDEL', deployment, 'served')
forgive(ARGV[1])
edit(ARGV[1])
changed()
if ARGV[2] == '0' then redis.call('ZREM', R.needy, ARGV[1]) end
return 'changed'
