#!lua flags=allow-oom
-- expire_file: deletes a file that its owner no longer needs: at once, or with the last request that uses it.
-- ARGV  1 id   2 API key
-- RETURNS 'expired' | 'missing'
if redis.call('HGET', K.file(ARGV[1]), 'key') ~= ARGV[2] then return 'missing' end
end_file(ARGV[1], now_ms())
return 'expired'
