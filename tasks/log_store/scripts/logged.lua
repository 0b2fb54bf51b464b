#!lua flags=no-writes
-- logged: which deployments have lines since a time, and the id of the latest line of all.
-- ARGV  1 time in ms
-- RETURNS {id, or '0-0' if there is no line, list of deployments}
local since = whole(math.max(tonumber(ARGV[1]), kept_since()))
return {redis.call('GET', K.log_end) or '0-0', redis.call('ZRANGEBYSCORE', K.logged, since, '+inf')}
