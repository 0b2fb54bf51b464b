#!lua flags=allow-oom
-- rotate_secret: puts a new secret before the others, which sign for a while longer.
-- ARGV  1 the secret   2 how long the others still sign, in s   3 '1' to do nothing if another one still signs
-- RETURNS 'made' | 'exists'
local now = wall_ms() / 1000
local kept = {{secret = ARGV[1], created = now}}
for _, earlier in ipairs(cjson.decode(redis.call('GET', K.webhook_secrets) or '[]')) do
  if not tonumber(earlier.expires) then earlier.expires = now + ARGV[2] end
  if earlier.expires > now then kept[#kept + 1] = earlier end
end
if ARGV[3] == '1' and #kept > 1 then return 'exists' end
redis.call('SET', K.webhook_secrets, cjson.encode(kept))
return 'made'
