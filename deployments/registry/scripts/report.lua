#!lua flags=allow-oom
-- report: stores the entry of a replica, which expires without its heartbeat. A change is published, and counted for those who
-- follow all entries (edited_replicas.lua). Entries that have ended are dropped.
-- ARGV  1 replica   2 its entry   3 ms that it holds   4 reference of its gate's token, '' for none   5 token
-- RETURNS 'changed' | 'unchanged'
local before = redis.call('GET', R.replica(ARGV[1]))
redis.call('SET', R.replica(ARGV[1]), ARGV[2], 'PX', ARGV[3])
if ARGV[4] ~= '' then redis.call('SET', R.host_token(ARGV[4]), ARGV[5], 'PX', ARGV[3]) end
redis.call('ZADD', R.replica_ends, whole(wall_ms() + tonumber(ARGV[3])), ARGV[1])
for _, id in ipairs(ended_replicas(10)) do forget_replica(id) end
if redis.call('SADD', R.replicas, ARGV[1]) == 1 and redis.call('SCARD', R.replicas) > redis.call('ZCARD', R.replica_ends) then
  for _, id in ipairs(redis.call('SMEMBERS', R.replicas)) do -- some are of an earlier version, which does not say when they end
    if redis.call('EXISTS', R.replica(id)) == 0 then forget_replica(id) end
  end
end
if before == ARGV[2] then return 'unchanged' end
redis.call('ZADD', R.edited_replicas, redis.call('INCR', R.replica_edits), ARGV[1])
redis.call('PUBLISH', R.replica_changes, ARGV[1])
return 'changed'
