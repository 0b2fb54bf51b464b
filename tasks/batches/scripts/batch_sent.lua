#!lua flags=allow-oom
-- batch_sent: the lines of the next part are jobs now.
-- ARGV  1 batch   2 fence   3 number of the part
-- RETURNS 'done' | 'stale'
local id = ARGV[1]
if not has_turn(id, ARGV[2]) then return 'stale' end
if redis.call('HGET', K.batch(id), 'next') == ARGV[3] then
  redis.call('SADD', K.batch_parts(id), ARGV[3])
  redis.call('HINCRBY', K.batch(id), 'next', 1)
end
return 'done'
