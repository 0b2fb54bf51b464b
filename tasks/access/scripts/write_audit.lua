#!lua flags=allow-oom
-- write_audit: appends what somebody changed; entries that are too old or too many go.
-- ARGV  1 most entries   2.. field, value, ...
-- RETURNS the id of the entry
local id = redis.call('XADD', K.audit, 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 2))
redis.call('XTRIM', K.audit, 'MINID', whole(kept_since()))
return id
