#!lua flags=allow-oom
-- collect: forgets payloads that have been deleted and says which are due next.
-- ARGV  1 how many at most   then the deleted payloads
-- RETURNS a list of payloads that nobody needs
for i = 2, #ARGV do redis.call('ZREM', K.garbage, ARGV[i]) end
return redis.call('ZRANGEBYSCORE', K.garbage, '-inf', whole(now_ms()), 'LIMIT', 0, ARGV[1])
