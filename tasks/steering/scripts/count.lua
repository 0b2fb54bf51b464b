#!lua flags=allow-oom
-- count: how many of the next jobs match a filter, by status; newest first.
-- ARGV  1 created ms and 2 member of the place to go on from, '' = the newest   3 how many to look at at most
--       then the filter, as pairs of name and value
-- RETURNS {1 at the end else 0, created ms, member, flat list of status and number}
local counts, flat = {}, {}
local ended, place = walk(filter_from(4), true, ARGV[1], ARGV[2], tonumber(ARGV[3]), function(_, job)
  counts[job[1]] = (counts[job[1]] or 0) + 1
end)
for status, number in pairs(counts) do append(flat, status, number) end
return {ended and 1 or 0, place[1], place[2], flat}
