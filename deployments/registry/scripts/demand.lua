#!lua
-- demand: somebody waits for a replica: it stays wanted for a while.
-- ARGV  1 deployment   2 ms
-- RETURNS 'wanted'
redis.call('SET', R.demand(ARGV[1]), 1, 'PX', ARGV[2])
return 'wanted'
