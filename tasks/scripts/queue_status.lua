-- queue_status: how many jobs of a deployment wait and run.
-- ARGV  1 deployment
-- RETURNS {queued, running}
local deployment = ARGV[1]
local queued = redis.call('ZCARD', K.queue(deployment)) + redis.call('ZCARD', K.delayed(deployment))
return {queued, redis.call('SCARD', K.running(deployment))}
