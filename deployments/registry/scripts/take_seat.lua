#!lua flags=allow-oom
-- take_seat: the right to run one replica of a deployment, never more than are wanted.
-- ARGV  1 deployment   2 replica   3 ms that it holds
-- RETURNS 'taken' | 'full'
local id, now = ARGV[1], now_ms()
end_lapsed_seats(id, now)
local word = 'full'
if redis.call('ZCARD', R.seats(id)) < allowed(id) then
  redis.call('ZADD', R.seats(id), whole(now + tonumber(ARGV[3])), ARGV[2])
  redis.call('ZREM', R.needy, id)
  word = 'taken'
end
note_vacancy(id)
return word
