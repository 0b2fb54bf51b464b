#!lua flags=allow-oom
-- hold_seats: renews the seats of a node's replicas. 'surplus' is one more than is wanted; 'lost' is one that lapsed, and
-- none was free since. The replica has to go in both cases.
-- ARGV  1 ms that they hold   then deployment, replica for each
-- RETURNS a list of 'held' | 'surplus' | 'lost'
local now, words = now_ms(), {}
for i = 2, #ARGV, 2 do
  local id, replica = ARGV[i], ARGV[i + 1]
  local wanted = allowed(id)
  redis.call('ZREMRANGEBYSCORE', R.seats(id), '-inf', whole(now))
  local mine, count = redis.call('ZSCORE', R.seats(id), replica), redis.call('ZCARD', R.seats(id))
  local word = 'held'
  if count + (mine and 0 or 1) > wanted then word = mine and 'surplus' or 'lost' end
  if word == 'held' then
    redis.call('ZADD', R.seats(id), whole(now + tonumber(ARGV[1])), replica)
  else
    redis.call('ZREM', R.seats(id), replica)
  end
  words[#words + 1] = word
end
return words
