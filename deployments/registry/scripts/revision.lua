#!lua flags=no-writes
-- revision: a number that grows with each change of how models, deployments and environments are shown.
-- ARGV  none
-- RETURNS the number
return tonumber(redis.call('GET', R.revision) or 0)
