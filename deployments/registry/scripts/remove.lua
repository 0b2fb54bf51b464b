#!lua flags=allow-oom
-- remove: takes a replica's entry out of the directory, and the token of its gate.
-- ARGV  1 replica   2 reference of the token, '' for none
-- RETURNS 'removed'
redis.call('DEL', R.replica(ARGV[1]), R.host_token(ARGV[2]))
forget_replica(ARGV[1])
redis.call('PUBLISH', R.replica_changes, ARGV[1])
return 'removed'
