#!lua
-- add_part: a part of a transfer has arrived, whose payloads are written. The same number again replaces it.
-- ARGV  1 transfer   2 number   3 bytes   4 the part: bytes, MD5 and payloads   5 ms until the transfer is dropped
--       6 most bytes of a key   7 most bytes of all
-- RETURNS {'added', the part that it replaces, else ''} | {'full', 'key' | 'all'} | {'missing'}
local upload, parts = K.upload(ARGV[1]), K.upload_parts(ARGV[1])
local known = redis.call('HMGET', upload, 'owner', 'content_hash', 'refused')
if not known[1] or known[2] or known[3] then return {'missing'} end
local of_key, bytes = 0, 0
for _, id in ipairs(redis.call('ZRANGE', K.uploads('package'), 0, -1)) do
  local other = redis.call('HMGET', K.upload(id), 'api_key', 'owner', 'size')
  local size = tonumber(other[3] or 0)
  bytes = bytes + size
  if (other[1] or other[2]) == known[1] then of_key = of_key + size end
end
local old = redis.call('HGET', parts, ARGV[2]) or ''
local more = tonumber(ARGV[3]) - (tonumber(string.match(old, '^%d+')) or 0)
if of_key + more > tonumber(ARGV[6]) then return {'full', 'key'} end
if bytes + more > tonumber(ARGV[7]) then return {'full', 'all'} end
redis.call('HSET', parts, ARGV[2], ARGV[4])
redis.call('HINCRBY', upload, 'size', more)
redis.call('ZADD', K.uploads('package'), whole(now_ms() + ARGV[5]), ARGV[1])
return {'added', old}
