-- renew: extends the leases of running jobs, also of a cancelled one whose model call has not ended yet.
-- ARGV  request_id, fence for each job
-- RETURNS a list of 'renewed' | 'canceled' | 'lost', one for each job
local deadline, words = whole(now_ms() + S.lease_ms), {}
for i = 1, #ARGV, 2 do
  local job = redis.call('HMGET', K.job(ARGV[i]), 'status', 'fence', 'stopping')
  local word = 'lost'
  if check_fence(job[1], job[2], ARGV[i + 1]) == 'held' then
    word = 'renewed'
  elseif job[3] == ARGV[i + 1] then
    word = 'canceled'
  end
  if word ~= 'lost' then redis.call('ZADD', K.leases, 'XX', deadline, ARGV[i]) end
  words[#words + 1] = word
end
return words
