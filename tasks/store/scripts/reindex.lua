#!lua flags=allow-oom
-- reindex: puts jobs of an API key into the index of all jobs, as those of an earlier version are not in it.
-- ARGV  1 api key id   2 cursor over its jobs, 0 = begin   3 how many, about
-- RETURNS {next cursor, how many were added}
local page, pairs = redis.call('ZSCAN', K.jobs(ARGV[1]), ARGV[2], 'COUNT', ARGV[3]), {}
for i = 1, #page[2], 2 do append(pairs, page[2][i + 1], page[2][i]) end
local before = redis.call('ZCARD', K.all_jobs)
add_all(K.all_jobs, pairs)
return {page[1], redis.call('ZCARD', K.all_jobs) - before}
