#!lua flags=no-writes
-- loads: how many jobs of each deployment wait and run. Jobs that cannot start, for a pause or the limit of their key, do not count.
-- ARGV  the deployments
-- RETURNS a list of {queued, running, 1 when somebody waits for a replica}
local loads = {}
for _, id in ipairs(ARGV) do
  local queued = redis.call('ZCARD', K.queue(id)) + redis.call('ZCARD', K.delayed(id))
  if redis.call('SISMEMBER', K.paused, id) == 1 then queued = 0 end
  loads[#loads + 1] = {queued, redis.call('SCARD', K.running(id)), redis.call('EXISTS', R.demand(id))}
end
return loads
