#!lua flags=allow-oom
-- list_files: files of an API key, as /v1/files lists them.
-- ARGV  1 API key   2 the file after which to go on, '' = at the beginning   3 how many at most   4 purpose, '' = any   5 '1' the oldest first
-- RETURNS {files as listed}, one more than wanted if there are more
local LOOKED_AT = 11000 -- more than a key may have
local index, now, found = K.listed_files(ARGV[1]), now_ms(), {}
local range, rank = 'ZREVRANGE', 'ZREVRANK'
if ARGV[5] == '1' then range, rank = 'ZRANGE', 'ZRANK' end
local first = 0
if ARGV[2] ~= '' then first = (redis.call(rank, index, ARGV[2]) or LOOKED_AT) + 1 end
for _, id in ipairs(redis.call(range, index, first, first + LOOKED_AT)) do
  local file = listed_file(id, now)
  if file and (ARGV[4] == '' or file[5] == ARGV[4]) then found[#found + 1] = file end
  if #found > tonumber(ARGV[3]) then break end
end
return found
