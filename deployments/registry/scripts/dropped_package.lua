#!lua flags=allow-oom
-- dropped_package: a stored package was deleted; it may be stored again.
-- ARGV  1 content hash
-- RETURNS 'dropped'
redis.call('ZREM', R.unused_packages, ARGV[1])
redis.call('DEL', R.going_package(ARGV[1]))
return 'dropped'
