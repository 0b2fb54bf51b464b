#!lua flags=allow-oom
-- put_key: stores an API key, unless another key has its id. A key that was revoked stays revoked.
-- ARGV  1 id   2 the key as JSON   3 its SHA-256   4 how many of its requests may run at once, or ''
-- RETURNS 'stored' | 'taken' | 'revoked'
local known = redis.call('HGET', K.api_keys, ARGV[1])
if known then
  local earlier = cjson.decode(known)
  if earlier.sha256 ~= ARGV[3] then return 'taken' end
  if earlier.revoked then return 'revoked' end
end
redis.call('HSET', K.api_keys, ARGV[1], ARGV[2])
if ARGV[4] ~= '' then redis.call('HSET', K.running_limits, ARGV[1], ARGV[4]) end
return 'stored'
