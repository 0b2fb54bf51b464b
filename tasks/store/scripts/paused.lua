#!lua flags=no-writes
-- paused: which of these deployments have their jobs held back.
-- ARGV  1.. deployments
-- RETURNS a list of 1 or 0, in their order
local found = {}
for i = 1, #ARGV do found[i] = redis.call('SISMEMBER', K.paused, ARGV[i]) end -- unpack would take some thousands at most
return found
