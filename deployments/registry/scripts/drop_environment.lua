#!lua flags=allow-oom
-- drop_environment: forgets an environment; its deployment stays.
-- ARGV  1 model   2 environment
-- RETURNS 'dropped' | 'missing'
changed()
redis.call('DEL', R.environment(ARGV[1] .. ':' .. ARGV[2]))
return redis.call('HDEL', R.environments(ARGV[1]), ARGV[2]) == 1 and 'dropped' or 'missing'
