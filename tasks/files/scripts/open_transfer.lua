#!lua
-- open_transfer: begins a transfer of a package in parts, as S3's clients send it. If there are too many uploads, an idle
-- transfer of the same key is dropped.
-- ARGV  1 id   2 API key   3 secret   4 'package' | 'source'   5 ms until it is dropped, from its last part on
--       6 most uploads of a key   7 most of all   8 ms after which one is idle
-- RETURNS {'open', payloads of the one that was dropped...} | {'full', 'key' | 'all'}
local now, of_key, idle, freed = now_ms(), 0, nil, {'open'}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.uploads('package'), '-inf', now)) do drop_upload(id) end
local open = redis.call('ZRANGE', K.uploads('package'), 0, -1, 'WITHSCORES')
for i = 1, #open, 2 do
  local known = redis.call('HMGET', K.upload(open[i]), 'api_key', 'owner')
  if (known[1] or known[2]) == ARGV[2] then
    of_key = of_key + 1
    local last = tonumber(open[i + 1]) - tonumber(ARGV[5])
    if known[2] and last + tonumber(ARGV[8]) < now then idle = idle or open[i] end
  end
end
local room = #open / 2 < tonumber(ARGV[7])
if of_key >= tonumber(ARGV[6]) or (idle and not room) then
  if not idle then return {'full', 'key'} end
  for _, part in ipairs(redis.call('HVALS', K.upload_parts(idle))) do
    freed[#freed + 1] = part
  end
  drop_upload(idle)
elseif not room then
  return {'full', 'all'}
end
redis.call('ZADD', K.uploads('package'), whole(now + ARGV[5]), ARGV[1])
redis.call('HSET', K.upload(ARGV[1]), 'kind', 'package', 'owner', ARGV[2], 'secret', ARGV[3], 'purpose', ARGV[4], 'size', 0)
return freed
