#!lua
-- alias: lets a chain be asked for by another name, too, while no model and no other chain has it.
-- ARGV  1 name   2 the chain's model id
-- RETURNS 'known'
redis.call('SADD', R.alias(ARGV[1]), ARGV[2])
redis.call('SADD', R.aliases, ARGV[1])
return 'known'
