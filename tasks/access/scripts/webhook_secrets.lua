#!lua flags=no-writes
-- webhook_secrets: the secrets that webhooks are signed with, also those that sign no more.
-- ARGV  none
-- RETURNS a list of them as JSON, nil if there is none
return redis.call('GET', K.webhook_secrets)
