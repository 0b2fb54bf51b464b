#!lua flags=no-writes
-- unfinished_of: requests of a deployment that wait or run.
-- ARGV  1 deployment   2 how many at most of each kind
-- RETURNS a list of request ids
local id, found = ARGV[1], redis.call('SMEMBERS', K.running(ARGV[1]))
for _, place in ipairs({K.queue(id), K.delayed(id), K.held(id)}) do
  for _, member in ipairs(redis.call('ZRANGE', place, 0, ARGV[2] - 1)) do found[#found + 1] = string.sub(member, 15) end
end
return found
