#!lua
-- lead: whether somebody is the one autoscaler for the next while.
-- ARGV  1 who asks   2 ms
-- RETURNS 'leads' | 'follows'
local leader = redis.call('GET', R.autoscaler)
if leader and leader ~= ARGV[1] then return 'follows' end
redis.call('SET', R.autoscaler, ARGV[1], 'PX', ARGV[2])
return 'leads'
