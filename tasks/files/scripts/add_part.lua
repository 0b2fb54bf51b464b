#!lua
-- add_part: notes a part of a transfer whose payloads are written. A part with the same number replaces it.
-- ARGV  1 transfer   2 number   3 bytes   4 the part: bytes, MD5 and payloads   5 ms until the transfer is dropped
--       6 most bytes of a key   7 most bytes of all   8 how many of its bytes count already (reserve_part)
-- RETURNS {'added', the part that it replaces, else ''} | {'full', 'key' | 'all'} | {'missing'}
local upload, parts, owner = K.upload(ARGV[1]), K.upload_parts(ARGV[1]), owner_of_open(ARGV[1])
if not owner then return {'missing'} end
local old = redis.call('HGET', parts, ARGV[2]) or ''
local more = tonumber(ARGV[3]) - tonumber(ARGV[8]) - (tonumber(string.match(old, '^%d+')) or 0)
local full = more > 0 and no_room(owner, more, ARGV[6], ARGV[7])
if full then return {'full', full} end
redis.call('HSET', parts, ARGV[2], ARGV[4])
redis.call('HINCRBY', upload, 'size', more)
redis.call('ZADD', K.uploads('package'), whole(now_ms() + ARGV[5]), ARGV[1])
return {'added', old}
