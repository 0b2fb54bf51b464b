#!lua flags=allow-oom
-- forget_node: a node stops in good order.
-- ARGV  1 node
-- RETURNS 'gone'
redis.call('DEL', R.node(ARGV[1]))
redis.call('ZREM', R.nodes, ARGV[1])
return 'gone'
