#!lua flags=allow-oom
-- end_files_of: lets the stored files of an API key go, in steps. Files that a request uses are not looked at.
-- ARGV  1 API key   2 cursor, '0' at the beginning   3 about how many files to look at
-- RETURNS {next cursor, '0' at the end; how many go; the ids of the key's unfinished uploads of files, at the end}
local now, ended, open = now_ms(), 0, {}
local page = redis.call('ZSCAN', K.files, ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
  local id = page[2][i]
  local file = redis.call('HMGET', K.file(id), 'key', 'expires')
  if file[1] == ARGV[1] and tonumber(file[2]) > now then
    end_file(id, now)
    ended = ended + 1
  end
end
if page[1] == '0' then
  for _, id in ipairs(redis.call('ZRANGE', K.uploads('file'), 0, -1)) do -- 64 at most
    if redis.call('HGET', K.upload(id), 'api_key') == ARGV[1] then open[#open + 1] = id end
  end
end
return {page[1], ended, open}
