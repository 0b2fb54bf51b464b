#!lua flags=no-writes
-- api_key: the API key with that id.
-- ARGV  1 id
-- RETURNS the key as JSON, nil if there is none
return redis.call('HGET', K.api_keys, ARGV[1])
