#!lua flags=no-writes
-- api_keys: every API key, those that are revoked or have expired too, and how many requests it has.
-- ARGV  none
-- RETURNS a list of {the key as JSON, its requests that are queued or running, all of its requests that are kept}
local known, found = redis.call('HGETALL', K.api_keys), {}
for i = 1, #known, 2 do
  local unfinished = redis.call('HGET', K.unfinished, known[i]) or '0'
  found[#found + 1] = {known[i + 1], unfinished, redis.call('ZCARD', K.jobs(known[i]))}
end
return found
