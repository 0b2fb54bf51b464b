#!lua
-- report_node: a node says what it has and what runs there. An entry that is not renewed shows for a while that it is silent.
-- ARGV  1 node   2 its entry   3 ms that a silent one is still shown
-- RETURNS 'kept'
local now = wall_ms()
redis.call('SET', R.node(ARGV[1]), ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', R.nodes, whole(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', R.nodes, '-inf', whole(now - ARGV[3]))
return 'kept'
