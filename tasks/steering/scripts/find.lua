#!lua flags=allow-oom
-- find: the next jobs that match a filter, newest first.
-- ARGV  1 created ms and 2 member of the place to go on from, '' = the newest   3 how many to look at at most
--       4 how many to find at most   then the filter, as pairs of name and value
-- RETURNS {1 at the end else 0, created ms, member, list of {request_id, record as a flat list}}
local found, wanted = {}, tonumber(ARGV[4])
local ended, place = walk(filter_from(5), true, ARGV[1], ARGV[2], tonumber(ARGV[3]), function(id)
  found[#found + 1] = {id, redis.call('HGETALL', K.job(id))}
  return #found >= wanted
end)
return {ended and 1 or 0, place[1], place[2], found}
