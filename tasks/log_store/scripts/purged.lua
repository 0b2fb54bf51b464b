#!lua flags=no-writes
-- purged: how many purged requests may still have lines.
-- ARGV  1 ms since the purge of a request, at least: before that its last lines may still be on their way
-- RETURNS {how many such requests, the latest ms of a purge that counts, list of deployments that have lines}
local upto = wall_ms() - tonumber(ARGV[1])
local count = redis.call('ZCOUNT', K.purged, '-inf', whole(upto))
local deployments = count > 0 and redis.call('ZRANGE', K.logged, 0, -1) or {}
return {count, whole(upto), deployments}
