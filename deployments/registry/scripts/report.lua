#!lua flags=allow-oom
-- report: stores the entry of a replica, which expires without its heartbeat. A change is published.
-- ARGV  1 replica   2 its entry   3 ms that it holds   4 reference of its gate's token, '' for none   5 token
-- RETURNS 'changed' | 'unchanged'
local before = redis.call('GET', R.replica(ARGV[1]))
redis.call('SET', R.replica(ARGV[1]), ARGV[2], 'PX', ARGV[3])
if ARGV[4] ~= '' then redis.call('SET', R.host_token(ARGV[4]), ARGV[5], 'PX', ARGV[3]) end
if redis.call('SADD', R.replicas, ARGV[1]) == 1 then -- a new one: those that have ended are dropped
  for _, id in ipairs(redis.call('SMEMBERS', R.replicas)) do
    if redis.call('EXISTS', R.replica(id)) == 0 then redis.call('SREM', R.replicas, id) end
  end
end
if before == ARGV[2] then return 'unchanged' end
redis.call('PUBLISH', R.replica_changes, ARGV[1])
return 'changed'
