#!lua
-- reserve_part: counts bytes of a part that are about to be written. A negative number gives bytes back.
-- ARGV  1 transfer   2 bytes   3 most bytes of a key   4 most bytes of all
-- RETURNS {'reserved'} | {'full', 'key' | 'all'} | {'missing'}
local owner, more = owner_of_open(ARGV[1]), tonumber(ARGV[2])
if not owner then return {'missing'} end
local full = more > 0 and no_room(owner, more, ARGV[3], ARGV[4])
if full then return {'full', full} end
redis.call('HINCRBY', K.upload(ARGV[1]), 'size', more)
return {'reserved'}
