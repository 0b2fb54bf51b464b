#!lua flags=allow-oom
-- find_files: the files that an API key may use now.
-- ARGV  1 API key, '' = of any key   then the ids
-- RETURNS {'found', {id, payload, bytes, ending, content type, ms until it expires}, ...} | {'missing', id}
local found, now = {'found'}, now_ms()
for i = 2, #ARGV do
  local file = redis.call('HMGET', K.file(ARGV[i]), 'key', 'ref', 'size', 'ending', 'type', 'expires')
  if not file[1] or (ARGV[1] ~= '' and file[1] ~= ARGV[1]) or tonumber(file[6]) <= now then return {'missing', ARGV[i]} end
  found[#found + 1] = {ARGV[i], file[2], file[3], file[4], file[5], whole(file[6] - now)}
end
return found
