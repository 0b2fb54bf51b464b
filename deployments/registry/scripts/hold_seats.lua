#!lua flags=allow-oom
-- hold_seats: renews the seats of a node's replicas. 'surplus' is one more than is wanted; 'lost' is one that lapsed, and
-- none was free since. The replica has to go in both cases.
-- The end of a seat is a multiple of a fifth of its time: all seats are written in the same moments, and not in between.
-- ARGV  1 ms that they hold   then deployment, replica for each
-- RETURNS a list of 'held' | 'surplus' | 'lost'
local now, words, term = now_ms(), {}, tonumber(ARGV[1])
local ends = now + term - (now + term) % (term / 5)
for i = 2, #ARGV, 2 do
  local id, replica = ARGV[i], ARGV[i + 1]
  local wanted = allowed(id)
  end_lapsed_seats(id, now)
  local mine, count = redis.call('ZSCORE', R.seats(id), replica), redis.call('ZCARD', R.seats(id))
  local word = 'held'
  if count + (mine and 0 or 1) > wanted then word = mine and 'surplus' or 'lost' end
  if word == 'held' then
    if not mine or tonumber(mine) < math.floor(ends) then redis.call('ZADD', R.seats(id), whole(ends), replica) end
  else
    redis.call('ZREM', R.seats(id), replica)
  end
  words[#words + 1] = word
end
return words
