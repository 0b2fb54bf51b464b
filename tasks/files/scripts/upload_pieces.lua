#!lua flags=no-writes
-- upload_pieces: the payloads of an upload, in their order.
-- ARGV  1 upload
-- RETURNS a list of payloads
return redis.call('LRANGE', K.upload_pieces(ARGV[1]), 0, -1)
