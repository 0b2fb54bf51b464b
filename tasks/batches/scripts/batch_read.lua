#!lua flags=no-writes
-- batch_read: the record of a batch.
-- ARGV  1 batch   2 owner's API key, '' = any owner
-- RETURNS record as a flat list, empty if it is missing or another key's
local key = redis.call('HGET', K.batch(ARGV[1]), 'key')
if not key or (ARGV[2] ~= '' and key ~= ARGV[2]) then return {} end
return redis.call('HGETALL', K.batch(ARGV[1]))
