#!lua flags=no-writes
-- paused: the deployments whose jobs are held back.
-- ARGV  none
-- RETURNS a list of deployment ids
return redis.call('SMEMBERS', K.paused)
