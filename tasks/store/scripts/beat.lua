#!lua flags=allow-oom
-- beat: notes that a maintenance process has finished a round of its sweeper.
-- ARGV  none
-- RETURNS 'noted'
redis.call('SET', K.swept, whole(wall_ms()))
return 'noted'
