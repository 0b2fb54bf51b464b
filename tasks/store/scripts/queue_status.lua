#!lua flags=allow-oom
-- queue_status: how many jobs of a deployment wait and run, and whether it is paused.
-- ARGV  1 deployment   2 api key id   3 calls a minute, 0 = no limit
-- RETURNS {'counted', queued, running, 1 if paused else 0} | {'throttled', ms}
local deployment, owner, per_minute = ARGV[1], ARGV[2], ARGV[3]
local wait = throttle('queue_status', owner, per_minute, 1, now_ms())
if wait > 0 then return {'throttled', wait} end
local running, paused = redis.call('SCARD', K.running(deployment)), redis.call('SISMEMBER', K.paused, deployment)
return {'counted', depth(deployment), running, paused}
