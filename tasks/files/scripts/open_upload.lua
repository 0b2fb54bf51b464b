#!lua
-- open_upload: an upload for something that an API key sends: its unfinished upload of the same content, else a new one.
-- ARGV  1 id of a new upload   2 API key   3 kind, 'package' | 'file'   4 what it is   5 bytes   6 ms until it is dropped
--       7 most uploads of a key   8 most of all   9 most bytes of a key, with its files   10 most bytes of all
--       11 most files of a key
-- RETURNS {'open', id, offset, '1' while somebody sends} | {'full', 'key' | 'all' | 'files'}
local key, kind, size = ARGV[2], ARGV[3], tonumber(ARGV[5])
local now, of_key, bytes_of_key, bytes = now_ms(), 0, 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.uploads(kind), '-inf', now)) do
  redis.call('ZREM', K.uploads(kind), id)
  drop_upload(id)
end
local open = redis.call('ZRANGE', K.uploads(kind), 0, -1)
for _, id in ipairs(open) do
  local known = redis.call('HMGET', K.upload(id), 'api_key', 'what', 'size', 'offset', 'sending_until', 'owner')
  if known[1] == key and known[2] == ARGV[4] and known[3] == ARGV[5] then
    return {'open', id, known[4], tonumber(known[5]) > now and '1' or '0'}
  end
  bytes = bytes + tonumber(known[3])
  if (known[1] or known[6]) == key then of_key, bytes_of_key = of_key + 1, bytes_of_key + tonumber(known[3]) end
end
if kind == 'file' then
  local stored = redis.call('HMGET', K.files_of(key), 'bytes', 'count')
  bytes_of_key = bytes_of_key + tonumber(stored[1] or 0)
  if bytes_of_key + size > tonumber(ARGV[9]) or tonumber(stored[2] or 0) + of_key >= tonumber(ARGV[11]) then
    return {'full', 'files'}
  end
end
if of_key >= tonumber(ARGV[7]) or bytes_of_key + size > tonumber(ARGV[9]) then return {'full', 'key'} end
if #open >= tonumber(ARGV[8]) or bytes + size > tonumber(ARGV[10]) then return {'full', 'all'} end
redis.call('ZADD', K.uploads(kind), whole(now + ARGV[6]), ARGV[1])
redis.call('HSET', K.upload(ARGV[1]), 'kind', kind, 'api_key', key, 'what', ARGV[4], 'size', ARGV[5], 'offset', 0,
  'sender', '', 'sending_until', 0)
return {'open', ARGV[1], '0', '0'}
