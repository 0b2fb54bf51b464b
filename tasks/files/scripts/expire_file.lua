#!lua flags=allow-oom
-- expire_file: lets a file expire that its owner no longer needs. The sweeper deletes it when no request uses it.
-- ARGV  1 id   2 id of the API key
-- RETURNS 'expired' | 'missing'
if redis.call('HGET', K.file(ARGV[1]), 'key') ~= ARGV[2] then return 'missing' end
end_file(ARGV[1], now_ms())
return 'expired'
