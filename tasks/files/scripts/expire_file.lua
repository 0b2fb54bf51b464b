#!lua
-- expire_file: its owner needs a file no more. It goes at once, or with the last request that uses it.
-- ARGV  1 id   2 API key
-- RETURNS 'expired' | 'missing'
if redis.call('HGET', K.file(ARGV[1]), 'key') ~= ARGV[2] then return 'missing' end
end_file(ARGV[1], now_ms())
return 'expired'
