#!lua flags=no-writes
-- switches: how often a replica made room for another deployment.
-- ARGV  none
-- RETURNS the number
return tonumber(redis.call('GET', R.switches) or 0)
