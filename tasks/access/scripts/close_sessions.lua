#!lua flags=allow-oom
-- close_sessions: ends all logins that an API key has at the console.
-- ARGV  1 API key
-- RETURNS how many ended
local sessions = K.sessions(ARGV[1])
local open = redis.call('ZRANGE', sessions, 0, -1)
for _, hashed in ipairs(open) do redis.call('DEL', K.session(hashed)) end
redis.call('DEL', sessions)
return #open
