#!lua
-- claim_upload: gives a sender the right to append to an upload, and takes it from the sender before. While a complete
-- upload is being checked, nobody can claim it.
-- ARGV  1 upload   2 API key   3 kind   4 sender, '' to only look
--       5 offset at which the sender goes on   6 ms that the claim holds
-- RETURNS {'claimed' | 'elsewhere' (only looked at, or at another offset), what, bytes, offset, '1' while somebody sends}
--   | {'missing'} | {'checked'} (it is being checked)
local known = redis.call('HMGET', K.upload(ARGV[1]), 'api_key', 'what', 'size', 'offset', 'sending_until', 'kind')
local ends = redis.call('ZSCORE', K.uploads(ARGV[3]), ARGV[1])
if known[1] ~= ARGV[2] or known[6] ~= ARGV[3] or not ends or tonumber(ends) <= now_ms() then return {'missing'} end
local active = tonumber(known[5]) > now_ms()
if ARGV[4] == '' or known[4] ~= ARGV[5] then
  return {'elsewhere', known[2], known[3], known[4], active and '1' or '0'}
end
if known[4] == known[3] and active then return {'checked'} end
redis.call('HSET', K.upload(ARGV[1]), 'sender', ARGV[4], 'sending_until', whole(now_ms() + ARGV[6]))
return {'claimed', known[2], known[3], known[4], '1'}
