#!lua flags=allow-oom
-- transfer: what is known of a transfer; its parts only if they are wanted.
-- ARGV  1 transfer   2 '1' with its parts
-- RETURNS {API key, secret, purpose, content hash, why it was refused, parts as a flat hash} | {}
local upload = K.upload(ARGV[1])
local known = redis.call('HMGET', upload, 'owner', 'secret', 'purpose', 'content_hash', 'refused')
local ends = redis.call('ZSCORE', K.uploads('package'), ARGV[1])
if not known[1] or (ends and tonumber(ends) <= now_ms()) then return {} end
local parts = ARGV[2] == '1' and redis.call('HGETALL', K.upload_parts(ARGV[1])) or {}
return {known[1], known[2], known[3], known[4] or '', known[5] or '', parts}
