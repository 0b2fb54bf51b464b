#!lua flags=no-writes
-- leader: the name of the deployment in whose process another one runs.
-- ARGV  1 deployment
-- RETURNS the name; '' when it runs in a process of its own
local leader = redis.call('HGET', R.deployment(ARGV[1]), 'leader')
if not leader or leader == '' then return '' end
return redis.call('HGET', R.deployment(leader), 'model_name') or leader
