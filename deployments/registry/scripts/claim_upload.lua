#!lua
-- claim_upload: the right to append to an upload. Whoever claims it takes it from the sender before, until it is complete
-- and that sender lets it be checked.
-- ARGV  1 upload   2 API key   3 sender, '' to only look   4 offset at which it goes on   5 ms that the claim holds
-- RETURNS {'claimed' | 'elsewhere', content hash, bytes, offset} | {'missing' | 'checked'}
local known = redis.call('HMGET', R.upload(ARGV[1]), 'api_key', 'content_hash', 'size', 'offset', 'sending_until')
local ends = redis.call('ZSCORE', R.uploads, ARGV[1])
if known[1] ~= ARGV[2] or not ends or tonumber(ends) <= now_ms() then return {'missing'} end
if ARGV[3] == '' or known[4] ~= ARGV[4] then return {'elsewhere', known[2], known[3], known[4]} end
if known[4] == known[3] and tonumber(known[5]) > now_ms() then return {'checked'} end
redis.call('HSET', R.upload(ARGV[1]), 'sender', ARGV[3], 'sending_until', whole(now_ms() + ARGV[5]))
return {'claimed', known[2], known[3], known[4]}
