#!lua flags=allow-oom
-- list: a page of one API key's jobs, newest first.
-- ARGV  1 api key id   2 start from this rank   3 how many
-- RETURNS a list of {request_id, record as a flat list}
local api_key, first, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local page = {}
for _, id in ipairs(redis.call('ZREVRANGE', K.jobs(api_key), first, first + count - 1)) do
  page[#page + 1] = {id, redis.call('HGETALL', K.job(id))}
end
return page
