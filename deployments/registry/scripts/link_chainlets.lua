#!lua
-- link_chainlets: the chainlets that one deployment of a chain calls, for those who ask and for its deletion.
-- ARGV  1 deployment of the entrypoint   2... display name and deployment of each
-- RETURNS 'linked'
redis.call('DEL', R.chainlets_of(ARGV[1]))
for i = 2, #ARGV, 2 do redis.call('HSET', R.chainlets_of(ARGV[1]), ARGV[i], ARGV[i + 1]) end
return 'linked'
