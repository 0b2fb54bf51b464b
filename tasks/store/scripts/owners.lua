#!lua flags=no-writes
-- owners: the API keys that have ever submitted a job.
-- ARGV  none
-- RETURNS a list of api key ids
return redis.call('HKEYS', K.unfinished)
