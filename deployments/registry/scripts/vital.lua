#!lua flags=no-writes
-- vital: when the parts of the service that are elsewhere were last heard of.
-- ARGV  none
-- RETURNS {ms since the sweeper's last round, ms since a node reported itself}; -1 = never
local now = wall_ms()
local function since(ms) return ms and whole(math.max(now - ms, 0)) or '-1' end
return {since(redis.call('GET', K.swept)), since(redis.call('ZREVRANGE', R.nodes, 0, 0, 'WITHSCORES')[2])}
