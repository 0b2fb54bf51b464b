#!lua flags=allow-oom
-- report_node: stores what a node has and what runs there. The entry of a silent node is still shown for a while.
-- ARGV  1 node   2 its entry   3 ms that a silent one is still shown
-- RETURNS 'kept'
local now = wall_ms()
redis.call('SET', R.node(ARGV[1]), ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', R.nodes, whole(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', R.nodes, '-inf', whole(now - ARGV[3]))
return 'kept'
