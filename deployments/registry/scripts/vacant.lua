#!lua flags=no-writes
-- vacant: the deployments that may have a free seat.
-- ARGV  none
-- RETURNS a list of deployments
return redis.call('SMEMBERS', R.vacant)
