#!lua flags=no-writes
-- load_counts: what was counted of the loads of some deployments.
-- ARGV  the deployments, BATCH of them at most
-- RETURNS for each a flat list of names and counts
local found = {}
for _, id in ipairs(ARGV) do found[#found + 1] = redis.call('HGETALL', R.load_counts(id)) end
return found
