#!lua flags=allow-oom
-- batch_hold: makes a turn last longer, or ends it.
-- ARGV  1 batch   2 fence   3 '' to go on, else ms until the next turn
-- RETURNS 'held' | 'stale'
if not has_turn(ARGV[1], ARGV[2]) then return 'stale' end
if ARGV[3] ~= '' then
  redis.call('HSET', K.batch(ARGV[1]), 'fence', '')
  redis.call('ZADD', K.batches, 'XX', whole(now_ms() + ARGV[3]), ARGV[1])
end
return 'held'
