#!lua flags=allow-oom
-- batch_begin: the file was read, and is good. A batch that was cancelled meanwhile stays so.
-- ARGV  1 batch   2 fence   3 number of lines   4 where its parts begin, as JSON
-- RETURNS 'done' | 'stale'
local id = ARGV[1]
if not has_turn(id, ARGV[2]) then return 'stale' end
redis.call('HSET', K.batch(id), 'total', ARGV[3], 'starts', ARGV[4])
if redis.call('HGET', K.batch(id), 'status') == 'validating' then becomes(id, 'in_progress') end
return 'done'
