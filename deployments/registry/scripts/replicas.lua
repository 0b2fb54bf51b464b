#!lua flags=no-writes
-- replicas: what each live replica said of itself last.
-- ARGV  none
-- RETURNS a list of entries, by the id of the replica
local ids, entries = redis.call('SMEMBERS', R.replicas), {}
table.sort(ids)
for _, id in ipairs(ids) do
  local entry = redis.call('GET', R.replica(id))
  if entry then entries[#entries + 1] = entry end -- else it has ended
end
return entries
