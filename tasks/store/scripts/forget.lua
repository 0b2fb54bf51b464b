#!lua flags=allow-oom
-- forget: drops the records whose retention is over.
-- ARGV  1 how many at most
-- RETURNS how many went
-- A record stays for another hour while its webhook is due, and for another lease while its model call runs.
local now, gone, left = now_ms(), 0, tonumber(ARGV[1])

local function visit(id)
  left = left - 1
  local runs = redis.call('ZSCORE', K.leases, id)
  if runs or redis.call('ZSCORE', K.outbox, id) then
    redis.call('ZADD', K.forget, whole(now + (runs and S.lease_ms or 3600000)), id)
  else
    drop(id, now)
    gone = gone + 1
  end
end

local function due(index) return redis.call('ZRANGEBYSCORE', index, '-inf', whole(now), 'LIMIT', 0, left) end

for _, id in ipairs(due(K.forget)) do visit(id) end
for _ = 1, left do -- buckets at most: one may have nothing that is due
  local bucket = due(K.ended_buckets)[1]
  if not bucket then break end
  for _, id in ipairs(due(K.ended(bucket))) do
    leave_bucket(bucket, id)
    visit(id)
  end
  local first = redis.call('ZRANGE', K.ended(bucket), 0, 0, 'WITHSCORES')
  if first[2] then redis.call('ZADD', K.ended_buckets, first[2], bucket) else redis.call('ZREM', K.ended_buckets, bucket) end
end
return gone
