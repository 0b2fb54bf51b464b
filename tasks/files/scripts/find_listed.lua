#!lua flags=allow-oom
-- find_listed: a file that its API key lists at /v1/files.
-- ARGV  1 API key   2 id
-- RETURNS {the file as listed} | {}
if redis.call('HGET', K.file(ARGV[2]), 'key') ~= ARGV[1] then return {} end
local file = listed_file(ARGV[2], now_ms())
return file and {file} or {}
