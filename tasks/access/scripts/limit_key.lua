#!lua flags=allow-oom
-- limit_key: changes limits of an API key. Those that are not named stay.
-- ARGV  1 id   2 the changed limits as a JSON object; null means the limit of the settings
-- RETURNS the key as JSON as it is now, nil if there is none | 'revoked'
local known = redis.call('HGET', K.api_keys, ARGV[1])
if not known then return false end
local key = cjson.decode(known)
if key.revoked then return 'revoked' end
key.limits = key.limits or {}
for name, limit in pairs(cjson.decode(ARGV[2])) do
  key.limits[name] = limit
  if name == 'max_running' and limit == cjson.null then
    redis.call('HDEL', K.running_limits, ARGV[1])
  elseif name == 'max_running' then
    redis.call('HSET', K.running_limits, ARGV[1], whole(limit))
  end
end
known = cjson.encode(key)
redis.call('HSET', K.api_keys, ARGV[1], known)
return known
