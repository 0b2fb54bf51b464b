#!lua flags=no-writes
-- model_ids: the id of each model and chain.
-- ARGV  none
-- RETURNS a flat list of names and ids
return redis.call('HGETALL', R.models)
