#!lua flags=allow-oom
-- batch_end: the batch is over. Its results, and its errors, are files of its API key, if there are any.
-- ARGV  1 batch   2 fence   then for either, which may be missing: 'output' or 'error', file, payload, bytes
-- RETURNS 'done' | 'stale'
local id, now = ARGV[1], now_ms()
if not has_turn(id, ARGV[2]) then return 'stale' end
local batch = redis.call('HMGET', K.batch(id), 'key', 'output_ms', 'ending')
local expires = whole(now + batch[2])
for i = 3, #ARGV, 4 do
  local kind, file = ARGV[i], ARGV[i + 1]
  if keep_file(file, batch[1], ARGV[i + 2], ARGV[i + 3], 'jsonl', 'application/jsonl', expires, 0) then
    redis.call('ZADD', K.files, expires, file)
    list_file(file, batch[1], 'batch_' .. id .. '_' .. kind .. '.jsonl', 'batch_output', batch[2])
  end
  redis.call('HSET', K.batch(id), kind, file)
end
becomes(id, batch[3] == '' and 'completed' or batch[3])
close_batch(id)
return 'done'
