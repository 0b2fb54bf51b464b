#!lua flags=allow-oom
-- batch_list: batches of an API key, the newest first. Those whose record has gone leave the index.
-- ARGV  1 API key   2 the batch after which to go on, '' = at the beginning   3 how many at most
-- RETURNS list of {id, record as a flat list}, one more than wanted if there are more
local index, found, first = K.batches_of(ARGV[1]), {}, 0
if ARGV[2] ~= '' then first = (redis.call('ZREVRANK', index, ARGV[2]) or 2^31) + 1 end
for _, id in ipairs(redis.call('ZREVRANGE', index, first, first + 2 * ARGV[3] + 100)) do
  local record = redis.call('HGETALL', K.batch(id))
  if #record == 0 then redis.call('ZREM', index, id) else found[#found + 1] = {id, record} end
  if #found > tonumber(ARGV[3]) then break end
end
return found
