#!lua flags=no-writes
-- history: what was counted in the minutes of the last hour (`count_in_history` in lib.lua), in steps. Minutes are counted from 1970.
-- ARGV  1 the first minute that is wanted; the hour may begin later   2 minutes at most   3 minutes of the hour
-- RETURNS {the minute now, {minute, its counts as a flat list} for each}
local now = math.floor(wall_ms() / 60000)
local first, found = math.max(tonumber(ARGV[1]), now - ARGV[3] + 1), {}
for minute = first, math.min(first + ARGV[2] - 1, now) do
  found[#found + 1] = {minute, redis.call('HGETALL', K.history(whole(minute)))}
end
return {now, found}
