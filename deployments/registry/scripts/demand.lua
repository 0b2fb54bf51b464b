#!lua flags=allow-oom
-- demand: keeps a replica of a deployment wanted for a while, because a call waits for it.
-- ARGV  1 deployment   2 ms that it stays wanted
-- RETURNS 'wanted'
redis.call('SET', R.demand(ARGV[1]), 1, 'PX', ARGV[2])
redis.call('SADD', R.demanded, ARGV[1])
return 'wanted'
