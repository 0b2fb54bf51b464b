#!lua
-- keep_file: makes the record of a file whose payload is written. The record adopts the payload.
-- ARGV  1 id   2 API key   3 payload   4 bytes   5 ending   6 content type   7 ms until it expires
-- RETURNS 'kept'
local expires = whole(now_ms() + ARGV[7])
if keep_file(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], expires, 0) then
  redis.call('ZADD', K.files, expires, ARGV[1])
end
return 'kept'
