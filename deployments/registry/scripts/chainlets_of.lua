#!lua flags=no-writes
-- chainlets_of: the chainlets that one deployment of a chain calls.
-- ARGV  1 deployment of the entrypoint
-- RETURNS display name and deployment of each, as a flat list
return redis.call('HGETALL', R.chainlets_of(ARGV[1]))
