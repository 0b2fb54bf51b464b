#!lua flags=no-writes
-- edited_replicas: the entries of replicas that have changed after a place, in the order of their latest changes.
-- ARGV  1 the number of the latest change that is known   2 how many entries at most
-- RETURNS {the number of the latest change of all, that of the last entry here (of the place, if there is none), how many replicas
--   there are, list of those among them whose entries have ended, list of entries}
local found, last = {}, ARGV[1]
local page = redis.call('ZRANGEBYSCORE', R.edited_replicas, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #page, 2 do
  found[#found + 1], last = redis.call('GET', R.replica(page[i])) or '', whole(page[i + 1])
end
return {redis.call('GET', R.replica_edits) or '0', last, redis.call('SCARD', R.replicas), ended_replicas(1000), found}
