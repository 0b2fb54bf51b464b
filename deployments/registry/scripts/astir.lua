#!lua flags=allow-oom
-- astir: the deployments that may have jobs in their queues, and those that calls wait for.
-- ARGV  none
-- RETURNS {deployments with a backlog, deployments with a demand}
local demanded = redis.call('SMEMBERS', R.demanded)
for n = #demanded, 1, -1 do
  if redis.call('EXISTS', R.demand(demanded[n])) == 0 then redis.call('SREM', R.demanded, table.remove(demanded, n)) end
end
return {redis.call('SMEMBERS', K.backlog), demanded}
