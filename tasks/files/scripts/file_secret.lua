#!lua flags=allow-oom
-- file_secret: the secret of this installation that signs the URLs of files; made at the first call.
-- ARGV  1 a secret for the first call
-- RETURNS the secret
redis.call('SET', K.file_secret, ARGV[1], 'NX')
return redis.call('GET', K.file_secret)
