#!lua flags=allow-oom
-- renew: extends the leases of running jobs, also of a cancelled one whose model call has not ended yet. A job that
-- was rescued goes back to its worker when nobody has claimed it since (QUEUED -> IN_PROGRESS, nothing charged).
-- ARGV  request_id, fence for each job
-- RETURNS a list of 'renewed' | 'canceled' | 'lost', one for each job
local now, words = now_ms(), {}
local deadline = whole(now + S.lease_ms)
for i = 1, #ARGV, 2 do
  local job = redis.call('HMGET', K.job(ARGV[i]), 'status', 'fence', 'rescued', 'stopping')
  local word = 'lost'
  if check_fence(ARGV[i], job, ARGV[i + 1], now) == 'held' then
    word = 'renewed'
  elseif job[4] == ARGV[i + 1] then
    word = 'canceled'
  end
  if word ~= 'lost' then redis.call('ZADD', K.leases, 'XX', deadline, ARGV[i]) end
  words[#words + 1] = word
end
return words
