#!lua flags=no-writes
-- replicas: what live replicas said of themselves last.
-- ARGV  the replicas; none = all
-- RETURNS a list of entries, by the id of the replica
local ids, entries = ARGV, {}
if #ids == 0 then ids = redis.call('SMEMBERS', R.replicas) end
table.sort(ids)
for _, id in ipairs(ids) do
  local entry = redis.call('GET', R.replica(id))
  if entry then entries[#entries + 1] = entry end -- else it has ended
end
return entries
