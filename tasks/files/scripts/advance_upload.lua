#!lua
-- advance_upload: a piece has arrived, or the sender is still there, or it has left.
-- ARGV  1 upload   2 sender   3 bytes of the piece   4 its payload, '' = none   5 ms that the claim holds, 0 = it has left
-- RETURNS 'held' | 'lost'
local upload = K.upload(ARGV[1])
if redis.call('HGET', upload, 'sender') ~= ARGV[2] then return 'lost' end
if ARGV[4] ~= '' then
  redis.call('RPUSH', K.upload_pieces(ARGV[1]), ARGV[4])
  redis.call('HINCRBY', upload, 'offset', ARGV[3])
end
redis.call('HSET', upload, 'sending_until', ARGV[5] == '0' and '0' or whole(now_ms() + ARGV[5]))
return 'held'
