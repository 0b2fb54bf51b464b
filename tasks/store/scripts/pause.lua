#!lua flags=allow-oom
-- pause: holds back or lets go the jobs of a deployment; running ones go on.
-- ARGV  1 deployment   2 '1' to pause, '0' to resume
-- RETURNS how many jobs wait
local deployment, on = ARGV[1], ARGV[2] == '1'
if on then
  redis.call('SADD', K.paused, deployment)
else
  redis.call('SREM', K.paused, deployment)
  wake(deployment, redis.call('ZCARD', K.queue(deployment)))
end
return depth(deployment)
