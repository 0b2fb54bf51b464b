#!lua flags=no-writes
-- webhook_secrets: the secrets that sign webhooks, with those that have expired.
-- ARGV  none
-- RETURNS a list of them as JSON, nil if there is none
return redis.call('GET', K.webhook_secrets)
