#!lua flags=allow-oom
-- end_transfer: a transfer is complete, or refused. What became of it is known for a while.
-- ARGV  1 transfer   2 content hash, else ''   3 why it was refused, else ''   4 ms that it is known
-- RETURNS 'ended' | 'missing'
local upload = K.upload(ARGV[1])
if redis.call('EXISTS', upload) == 0 then return 'missing' end
redis.call('ZREM', K.uploads('package'), ARGV[1])
redis.call('DEL', K.upload_parts(ARGV[1]))
redis.call('HSET', upload, ARGV[2] ~= '' and 'content_hash' or 'refused', ARGV[2] ~= '' and ARGV[2] or ARGV[3])
redis.call('PEXPIRE', upload, ARGV[4])
return 'ended'
