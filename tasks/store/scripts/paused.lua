#!lua flags=no-writes
-- paused: which of these deployments have their jobs held back.
-- ARGV  1.. deployments
-- RETURNS a list of 1 or 0, in their order
return #ARGV > 0 and redis.call('SMISMEMBER', K.paused, unpack(ARGV)) or {}
