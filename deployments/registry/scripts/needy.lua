#!lua flags=no-writes
-- needy: the deployments with work and no replica, the one that waits longest first.
-- ARGV  none
-- RETURNS a list of deployments
return redis.call('ZRANGE', R.needy, 0, -1)
