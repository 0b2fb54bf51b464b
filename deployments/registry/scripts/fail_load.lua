#!lua flags=allow-oom
-- fail_load: records a failed load of a deployment. It gives up after some failures with the same cause, or after four times as
-- many of any kind. Then it has no seat until something changes or its rest is over. Each further rest is twice as long as
-- the one before, up to eight times the first.
-- ARGV  1 deployment   2 why   3 the cause, the same text for failures that are alike   4 how many alike
--       5 ms of the first rest
-- RETURNS 'failed' | 'gave_up' | 'missing'
local deployment, most = R.deployment(ARGV[1]), tonumber(ARGV[4])
if redis.call('EXISTS', deployment) == 0 then return 'missing' end
edit(ARGV[1])
changed()
local same = redis.call('HGET', deployment, 'cause') == ARGV[3]
redis.call('HSET', deployment, 'failure', ARGV[2], 'cause', ARGV[3])
if gave_up(ARGV[1]) then return 'gave_up' end -- another replica of it
if not same then redis.call('HSET', deployment, 'alike', 0) end
local alike, failed = redis.call('HINCRBY', deployment, 'alike', 1), redis.call('HINCRBY', deployment, 'failed', 1)
if alike < most and failed < 4 * most then return 'failed' end
local rests = redis.call('HINCRBY', deployment, 'rests', 1)
local rest = tonumber(ARGV[5]) * 2 ^ math.min(rests - 1, 3)
redis.call('HSET', deployment, 'gave_up', whole(now_ms() + rest))
redis.call('ZREM', R.needy, ARGV[1])
return 'gave_up'
