#!lua
-- open_upload: where an API key sends a package to: its unfinished upload of that package, else a new one.
-- ARGV  1 id of a new upload   2 API key   3 content hash   4 bytes   5 ms until it is dropped
--       6 most uploads of a key   7 most of all   8 most bytes of a key   9 most bytes of all
-- RETURNS {'open', id, offset, '1' while somebody sends} | {'full', 'key' | 'all'}
local now, of_key, bytes_of_key, bytes = now_ms(), 0, 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', R.uploads, '-inf', now)) do drop_upload(id) end
local open = redis.call('ZRANGE', R.uploads, 0, -1)
for _, id in ipairs(open) do
  local known = redis.call('HMGET', R.upload(id), 'api_key', 'content_hash', 'size', 'offset', 'sending_until',
    'owner')
  if known[1] == ARGV[2] and known[2] == ARGV[3] and known[3] == ARGV[4] then
    return {'open', id, known[4], tonumber(known[5]) > now and '1' or '0'}
  end
  local size = tonumber(known[3])
  bytes = bytes + size
  if (known[1] or known[6]) == ARGV[2] then of_key, bytes_of_key = of_key + 1, bytes_of_key + size end
end
local size = tonumber(ARGV[4])
if of_key >= tonumber(ARGV[6]) or bytes_of_key + size > tonumber(ARGV[8]) then return {'full', 'key'} end
if #open >= tonumber(ARGV[7]) or bytes + size > tonumber(ARGV[9]) then return {'full', 'all'} end
redis.call('ZADD', R.uploads, whole(now + ARGV[5]), ARGV[1])
redis.call('HSET', R.upload(ARGV[1]), 'api_key', ARGV[2], 'content_hash', ARGV[3], 'size', ARGV[4], 'offset', 0,
  'sender', '', 'sending_until', 0)
return {'open', ARGV[1], '0', '0'}
