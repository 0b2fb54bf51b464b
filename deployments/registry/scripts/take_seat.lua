#!lua flags=allow-oom
-- take_seat: the right to run one replica of a deployment, never more than are wanted.
-- ARGV  1 deployment   2 replica   3 ms that it holds
-- RETURNS 'taken' | 'full'
local id, now = ARGV[1], now_ms()
redis.call('ZREMRANGEBYSCORE', R.seats(id), '-inf', whole(now))
if redis.call('ZCARD', R.seats(id)) >= allowed(id) then return 'full' end
redis.call('ZADD', R.seats(id), whole(now + tonumber(ARGV[3])), ARGV[2])
redis.call('ZREM', R.needy, id)
return 'taken'
