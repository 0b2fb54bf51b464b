#!lua flags=allow-oom
-- tally: the next step of a bulk operation that only counts what matches.
-- ARGV  1 name of the operation   2 most matching jobs in this step   then the filter, as pairs of name and value
-- RETURNS {1 at the end else 0, looked at, matched, done, failed}, as counted since it began
return step(ARGV[1], filter_from(3), tonumber(ARGV[2]), function() return false end)
