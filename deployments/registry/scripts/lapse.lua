#!lua flags=allow-oom
-- lapse: frees the seats that nobody has renewed in time, and tells nodes of deployments that have room for a replica.
-- ARGV  the deployments
-- RETURNS how many of them have a free seat
local now, free = now_ms(), 0
for _, id in ipairs(ARGV) do
  redis.call('ZREMRANGEBYSCORE', R.seats(id), '-inf', whole(now))
  note_vacancy(id)
  free = free + redis.call('SISMEMBER', R.vacant, id)
end
return free
