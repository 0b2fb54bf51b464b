#!lua flags=no-writes
-- totals: what was counted of some deployments, and what waits and runs of them now.
-- ARGV  1 levels, the most urgent is 0   then deployments
-- RETURNS {ms now, {counts as a flat list, queued, running, 1 if paused else 0, ms of the oldest of each level or ''} for each}
local levels, found = tonumber(ARGV[1]), {}
for n = 2, #ARGV do
  local deployment, ages = ARGV[n], {}
  local queued = depth(deployment)
  for level = 0, levels - 1 do ages[level + 1] = whole(queued > 0 and oldest(deployment, level) or 0) end
  found[n - 1] = {redis.call('HGETALL', K.totals(deployment)), queued, redis.call('SCARD', K.running(deployment)),
    redis.call('SISMEMBER', K.paused, deployment), ages}
end
return {whole(wall_ms()), found}
