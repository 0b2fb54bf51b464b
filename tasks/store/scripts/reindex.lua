#!lua flags=allow-oom
-- reindex: puts jobs of an API key into the index of all jobs, which an earlier version did not have. In that version the
-- members of a key's own index were ids. The job's member in the queue takes their place: it keeps the order of arrival.
-- ARGV  1 api key id   2 cursor over its jobs, 0 = begin   3 how many, about
-- RETURNS {next cursor, how many were added}
local own, added, pairs = K.jobs(ARGV[1]), redis.call('ZCARD', K.all_jobs), {}
local page = redis.call('ZSCAN', own, ARGV[2], 'COUNT', ARGV[3])
for i = 1, #page[2], 2 do
  local member, created = page[2][i], page[2][i + 1]
  local known = fields(member, 'member')[1]
  if known then
    redis.call('ZREM', own, member)
    redis.call('ZADD', own, created, known)
  end
  append(pairs, created, known or member)
end
add_all(K.all_jobs, pairs)
return {page[1], redis.call('ZCARD', K.all_jobs) - added}
