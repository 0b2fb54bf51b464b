#!lua flags=allow-oom
-- spill: notes payloads that are about to be written; those that no job adopts in time are deleted.
-- ARGV  1 ms until they may be deleted   then the payloads
-- RETURNS how many were noted
for i = 2, #ARGV do redis.call('ZADD', K.garbage, whole(now_ms() + tonumber(ARGV[1])), ARGV[i]) end
return #ARGV - 1
