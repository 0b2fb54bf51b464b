#!lua flags=no-writes
-- running_on: jobs of a deployment that a replica runs, as far as the store knows.
-- ARGV  1 deployment   2 replica   3 how many at most
-- RETURNS a list of their ids
local LOOKED_AT = 500 -- no deployment is known to run more at once
local found = {}
for _, id in ipairs(redis.call('SRANDMEMBER', K.running(ARGV[1]), LOOKED_AT)) do
  if #found == tonumber(ARGV[3]) then break end
  if redis.call('HGET', K.job(id), 'replica') == ARGV[2] then found[#found + 1] = id end
end
return found
