#!lua
-- create_environment: a name that points at nothing yet.
-- ARGV  1 model   2 environment
-- RETURNS 'created' | 'exists'
if redis.call('HSETNX', R.environments(ARGV[1]), ARGV[2], '') == 0 then return 'exists' end
redis.call('HSET', R.environment(ARGV[1] .. ':' .. ARGV[2]), 'created', whole(wall_ms()))
changed()
return 'created'
