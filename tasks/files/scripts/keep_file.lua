#!lua
-- keep_file: a file is stored; its payload is the record's from now on. A file that a request uses goes after the request.
-- ARGV  1 id   2 API key   3 payload   4 bytes   5 ending   6 content type   7 ms until it expires
-- RETURNS 'kept'
local id, now = ARGV[1], now_ms()
if redis.call('EXISTS', K.file(id)) == 1 then return 'kept' end
local expires = whole(now + ARGV[7])
redis.call('HSET', K.file(id), 'key', ARGV[2], 'ref', ARGV[3], 'size', ARGV[4], 'ending', ARGV[5], 'type', ARGV[6],
  'expires', expires, 'uses', 0)
redis.call('ZADD', K.files, expires, id)
redis.call('ZREM', K.garbage, ARGV[3])
redis.call('HINCRBY', K.files_of(ARGV[2]), 'bytes', ARGV[4])
redis.call('HINCRBY', K.files_of(ARGV[2]), 'count', 1)
return 'kept'
