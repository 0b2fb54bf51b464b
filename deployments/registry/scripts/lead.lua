#!lua flags=allow-oom
-- lead: makes an autoscaler the leader for some time, unless another one leads.
-- ARGV  1 autoscaler   2 ms that it leads
-- RETURNS 'leads' | 'follows'
local leader = redis.call('GET', R.autoscaler)
if leader and leader ~= ARGV[1] then return 'follows' end
redis.call('SET', R.autoscaler, ARGV[1], 'PX', ARGV[2])
return 'leads'
