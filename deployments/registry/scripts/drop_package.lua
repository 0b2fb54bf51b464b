#!lua flags=allow-oom
-- drop_package: whether a stored package may be deleted: no deployment has used it for long enough. From the
-- first look that finds it unused, the time is counted here, so a store that lost its data begins anew.
-- ARGV  1 content hash   2 ms without a use   3 ms in which it is deleted
-- RETURNS 'used' | 'waits' | 'going'
local hash, now = ARGV[1], now_ms()
for _, id in ipairs(redis.call('SMEMBERS', R.deployments)) do
  if redis.call('HGET', R.deployment(id), 'content_hash') == hash then
    redis.call('ZREM', R.unused_packages, hash)
    return 'used'
  end
end
redis.call('ZADD', R.unused_packages, 'NX', whole(now), hash)
if now - redis.call('ZSCORE', R.unused_packages, hash) < tonumber(ARGV[2]) then return 'waits' end
redis.call('SET', R.going_package(hash), 1, 'PX', ARGV[3])
return 'going'
