#!lua flags=no-writes
-- deployment_ids: every deployment; their records are read in pages.
-- ARGV  none
-- RETURNS a list of deployments
return redis.call('SMEMBERS', R.deployments)
