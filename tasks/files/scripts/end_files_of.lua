#!lua flags=allow-oom
-- end_files_of: lets the stored files of an API key go, in steps. Files that a request uses are not looked at.
-- ARGV  1 API key   2 cursor, '0' at the beginning   3 about how many files to look at
-- RETURNS {next cursor, '0' at the end; how many go; at the end the ids of the key's unfinished uploads of files, of those of
--   packages, and of its transfers}
local now, ended = now_ms(), 0
local page = redis.call('ZSCAN', K.files, ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
  local id = page[2][i]
  local file = redis.call('HMGET', K.file(id), 'key', 'expires')
  if file[1] == ARGV[1] and tonumber(file[2]) > now then
    end_file(id, now)
    ended = ended + 1
  end
end
-- Its uploads of that kind by the field that names the key: a transfer's is `owner`. There are 64 at most of a kind.
local function unfinished(kind, field)
  local ids = {}
  for _, id in ipairs(page[1] == '0' and redis.call('ZRANGE', K.uploads(kind), 0, -1) or {}) do
    if redis.call('HGET', K.upload(id), field) == ARGV[1] then ids[#ids + 1] = id end
  end
  return ids
end
return {page[1], ended, unfinished('file', 'api_key'), unfinished('package', 'api_key'), unfinished('package', 'owner')}
