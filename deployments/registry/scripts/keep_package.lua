#!lua
-- keep_package: somebody needs a stored package: the time without a use begins anew.
-- ARGV  1 content hash
-- RETURNS 'kept' | 'going' while it is being deleted
if redis.call('EXISTS', R.going_package(ARGV[1])) == 1 then return 'going' end
redis.call('ZREM', R.unused_packages, ARGV[1])
return 'kept'
