#!lua flags=allow-oom
-- wake: sends a wake-up if jobs wait. A worker that stops claiming for now leaves one behind.
-- ARGV  1 deployment
-- RETURNS how many were sent
if redis.call('ZCARD', K.queue(ARGV[1])) == 0 then return 0 end
return wake(ARGV[1], 1)
