#!lua
-- batch_create: begins a batch of the lines of a file. The file stays until the batch has ended.
-- ARGV  1 id   2 API key   3 endpoint   4 file   5 window ms   6 window as it was given   7 metadata as JSON
--       8 ms that its results are kept   9 most batches of the key that have not ended   10 number of lines, 0 = not known yet
-- RETURNS {'created', record as a flat list} | {'no_file'} | {'full'}
local id, key, input, now = ARGV[1], ARGV[2], ARGV[4], now_ms()
local file = redis.call('HMGET', K.file(input), 'key', 'purpose', 'expires', 'size', 'ref')
if file[1] ~= key or file[2] ~= 'batch' or tonumber(file[3]) <= now then return {'no_file'} end
if tonumber(redis.call('HGET', K.open_batches, key) or 0) >= tonumber(ARGV[9]) then return {'full'} end
local at = wall_ms()
redis.call('HSET', K.batch(id), 'key', key, 'endpoint', ARGV[3], 'input', input, 'input_bytes', file[4], 'ref', file[5],
  'window', ARGV[6], 'metadata', ARGV[7], 'output_ms', ARGV[8], 'status', 'validating', 'created', whole(at),
  'deadline', whole(now + ARGV[5]), 'expires', whole(at + ARGV[5]), 'total', ARGV[10], 'completed', 0, 'failed', 0, 'next', 0,
  'ending', '', 'fence', '')
use_files(input .. ':' .. file[4] .. ':')
redis.call('HINCRBY', K.open_batches, key, 1)
redis.call('ZADD', K.batches, whole(now), id)
redis.call('ZADD', K.batches_of(key), whole(at), id)
return {'created', redis.call('HGETALL', K.batch(id))}
