#!lua flags=no-writes
-- session: the login of the console with that token.
-- ARGV  1 SHA-256 of its token
-- RETURNS {API key, CSRF token}; both are nil if there is none
return redis.call('HMGET', K.session(ARGV[1]), 'key', 'csrf')
