#!lua flags=no-writes
-- edited: the records of deployments that have changed after a place, in the order of their latest changes.
-- ARGV  1 the number of the latest change that is known   2 how many records at most
-- RETURNS {the number of the latest change of all, that of the last record here (of the place, if there is none),
--   how many deployments there are, list of {deployment, its fields}}
local found, last = {}, ARGV[1]
local page = redis.call('ZRANGEBYSCORE', R.edited, '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #page, 2 do
  found[#found + 1], last = {page[i], redis.call('HGETALL', R.deployment(page[i]))}, whole(page[i + 1])
end
return {redis.call('GET', R.edits) or '0', last, redis.call('SCARD', R.deployments), found}
