#!lua flags=allow-oom
-- advance: notes that the caller has done the part of a bulk operation that `next` gave out. The same part again counts once.
-- ARGV  1 name of the operation   2 created ms and 3 member of the place before   4 and 5 the same after
--       6 '1' at the end   7 looked at   8 matched   9 done   10 failed
-- RETURNS {1 at the end else 0, looked at, matched, done, failed}, as counted since it began
local name, counts = ARGV[1], {seen = ARGV[7], matched = ARGV[8], done = ARGV[9], failed = ARGV[10]}
local state = redis.call('HMGET', K.operation(name), 'created', 'member', 'ended')
if state[1] ~= ARGV[2] or state[2] ~= ARGV[3] or state[3] == '1' then -- noted already by another call
  return redis.call('HMGET', K.operation(name), 'ended', 'seen', 'matched', 'done', 'failed')
end
return note_progress(name, ARGV[6] == '1', {ARGV[4], ARGV[5]}, counts)
