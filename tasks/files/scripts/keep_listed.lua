#!lua
-- keep_listed: makes the record of a file of /v1/files whose payload is written, if its API key has room for it.
-- ARGV  1 id   2 API key   3 payload   4 bytes   5 ending   6 content type   7 ms until it expires   8 name   9 purpose
--       10 most bytes of the key's files   11 most files
-- RETURNS {'kept', the file as listed} | {'full'}
local id, key, now = ARGV[1], ARGV[2], now_ms()
local stored = redis.call('HMGET', K.files_of(key), 'bytes', 'count')
local bytes, count = tonumber(stored[1] or 0) + ARGV[4], tonumber(stored[2] or 0)
if redis.call('EXISTS', K.file(id)) == 0 and (bytes > tonumber(ARGV[10]) or count >= tonumber(ARGV[11])) then return {'full'} end
local expires = whole(now + ARGV[7])
if keep_file(id, key, ARGV[3], ARGV[4], ARGV[5], ARGV[6], expires, 0) then
  redis.call('ZADD', K.files, expires, id)
  list_file(id, key, ARGV[8], ARGV[9], ARGV[7])
end
return {'kept', listed_file(id, now)}
