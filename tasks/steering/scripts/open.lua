#!lua
-- open: begins a bulk operation, or finds the one of that name.
-- ARGV  1 name   2 what it is for, as a digest   3 ms that it is kept for after its last step
-- RETURNS 'open' | 'conflict' when the name stands for something else
local key = K.operation(ARGV[1])
local digest = redis.call('HGET', key, 'digest')
if digest and digest ~= ARGV[2] then return 'conflict' end
if not digest then
  local newest = redis.call('ZREVRANGE', K.all_jobs, 0, 0, 'WITHSCORES')[2] -- later than now if the clock was set back
  local last = whole(math.max(wall_ms(), tonumber(newest or 0)))
  redis.call('HSET', key, 'digest', ARGV[2], 'last', last, 'keep_ms', ARGV[3], 'created', '', 'member', '',
    'ended', 0, 'seen', 0, 'matched', 0, 'done', 0, 'failed', 0)
end
redis.call('PEXPIRE', key, ARGV[3])
return 'open'
