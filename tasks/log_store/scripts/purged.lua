#!lua flags=no-writes
-- purged: whether lines of deleted requests are still to go.
-- ARGV  1 how long ago, in ms, a request was deleted at least: until then its last lines are on their way
-- RETURNS {how many such requests, the latest ms that counts, list of deployments that have lines}
local upto = wall_ms() - tonumber(ARGV[1])
local count = redis.call('ZCOUNT', K.purged, '-inf', whole(upto))
local deployments = count > 0 and redis.call('ZRANGE', K.logged, 0, -1) or {}
return {count, whole(upto), deployments}
