#!lua flags=allow-oom
-- batch_refuse: the file is no file of requests, so the batch has failed.
-- ARGV  1 batch   2 fence   3 errors, a JSON list
-- RETURNS 'done' | 'stale'
local id = ARGV[1]
if not has_turn(id, ARGV[2]) then return 'stale' end
redis.call('HSET', K.batch(id), 'errors', ARGV[3])
becomes(id, 'failed')
close_batch(id)
return 'done'
