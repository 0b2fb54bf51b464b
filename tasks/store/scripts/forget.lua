#!lua flags=allow-oom
-- forget: drops the records whose retention is over.
-- ARGV  1 how many at most
-- RETURNS how many went
-- A record stays for another hour while its webhook is due, and for another lease while its model call runs.
local now, gone = now_ms(), 0
local due = redis.call('ZRANGEBYSCORE', K.forget, '-inf', whole(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local runs = redis.call('ZSCORE', K.leases, id)
  if runs or redis.call('ZSCORE', K.outbox, id) then
    redis.call('ZADD', K.forget, whole(now + (runs and S.lease_ms or 3600000)), id)
  else
    drop(id, now)
    gone = gone + 1
  end
end
return gone
