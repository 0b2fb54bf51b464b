#!lua flags=allow-oom
-- forget_purged: forgets the requests that were purged until then: their lines are gone.
-- ARGV  1 ms, as `purged` gave it
-- RETURNS how many requests that were
return redis.call('ZREMRANGEBYSCORE', K.purged, '-inf', ARGV[1])
