#!lua flags=allow-oom
-- reload: tells a deployment's replicas that the folder they follow has changed.
-- ARGV  1 deployment
-- RETURNS 'told'
redis.call('PUBLISH', R.reloads, ARGV[1])
return 'told'
