#!lua flags=allow-oom
-- revoke_key: revokes an API key for good.
-- ARGV  1 id
-- RETURNS the key as JSON, nil if there is none
local known = redis.call('HGET', K.api_keys, ARGV[1])
if not known then return false end
local key = cjson.decode(known)
if key.revoked then return known end
key.revoked = true
known = cjson.encode(key)
redis.call('HSET', K.api_keys, ARGV[1], known)
return known
