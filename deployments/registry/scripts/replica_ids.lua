#!lua flags=no-writes
-- replica_ids: the replicas that have reported; the entries of some may have ended.
-- ARGV  none
-- RETURNS a list of replicas
return redis.call('SMEMBERS', R.replicas)
