#!lua flags=allow-oom
-- batch_finalize: all parts are written, and are to be joined.
-- ARGV  1 batch   2 fence
-- RETURNS list of number and 'bytes of results, bytes of errors', of all parts | 'stale'
local id = ARGV[1]
if not has_turn(id, ARGV[2]) then return 'stale' end
if redis.call('HGET', K.batch(id), 'status') == 'in_progress' then becomes(id, 'finalizing') end
return redis.call('HGETALL', K.batch_sizes(id))
