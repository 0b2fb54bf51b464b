#!lua flags=allow-oom
-- forget_files: drops files that have expired and that no request uses.
-- ARGV  1 how many at most
-- RETURNS how many went
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', K.files, '-inf', whole(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do drop_file(id, now) end
return #due
