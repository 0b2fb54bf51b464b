#!lua flags=allow-oom
-- open_session: notes a login of the console. An API key has a bounded number of logins; the oldest one ends.
-- ARGV  1 SHA-256 of its token   2 API key   3 CSRF token   4 ms until it ends   5 most logins of a key
-- RETURNS 'open'
local session, sessions = K.session(ARGV[1]), K.sessions(ARGV[2])
redis.call('HSET', session, 'key', ARGV[2], 'csrf', ARGV[3])
redis.call('PEXPIRE', session, ARGV[4])
redis.call('ZADD', sessions, wall_ms(), ARGV[1])
redis.call('PEXPIRE', sessions, ARGV[4])
for _, old in ipairs(redis.call('ZRANGE', sessions, 0, -tonumber(ARGV[5]) - 1)) do
  redis.call('DEL', K.session(old))
  redis.call('ZREM', sessions, old)
end
return 'open'
