#!lua flags=allow-oom
-- leave_seat: gives up the seat of a replica.
-- ARGV  1 deployment   2 replica   3 '1' if it makes room for another deployment, which is counted
-- RETURNS 'left' | 'missing'
if redis.call('ZREM', R.seats(ARGV[1]), ARGV[2]) == 0 then return 'missing' end
note_vacancy(ARGV[1])
if ARGV[3] == '1' then redis.call('INCR', R.switches) end
return 'left'
