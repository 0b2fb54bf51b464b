#!lua flags=allow-oom
-- count_load: counts a load of a deployment; deployments/registry/load_counts.py lists the names.
-- ARGV  1 deployment   2 'ready' | 'failed'   3 '1' if no other replica was ready   4 step of its duration   5 its ms
-- RETURNS 'counted' | 'missing'
local counts = R.load_counts(ARGV[1])
if redis.call('EXISTS', R.deployment(ARGV[1])) == 0 then return 'missing' end
redis.call('HINCRBY', counts, ARGV[2], 1)
if ARGV[2] == 'failed' then return 'counted' end
if ARGV[3] == '1' then redis.call('HINCRBY', counts, 'cold', 1) end
redis.call('HINCRBY', counts, 'load:' .. ARGV[4], 1)
redis.call('HINCRBY', counts, 'load:ms', ARGV[5])
return 'counted'
