#!lua flags=allow-oom
-- forget_purged: the lines of requests that were deleted until then are gone.
-- ARGV  1 ms, as `purged` gave it
-- RETURNS how many requests that were
return redis.call('ZREMRANGEBYSCORE', K.purged, '-inf', ARGV[1])
