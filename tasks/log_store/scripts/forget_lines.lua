#!lua flags=allow-oom
-- forget_lines: deletes the lines of purged requests among the next ones of a deployment's log.
-- ARGV  1 deployment   2 the id to begin at, '(' before it for beyond it   3 most lines to look at
-- RETURNS {how many went, the id to go on beyond, or '' at the end}
local name, most, gone, last, size = K.log(ARGV[1]), tonumber(ARGV[3]), 0, '', 0
local rows = redis.call('XRANGE', name, ARGV[2], '+', 'COUNT', most)
for _, row in ipairs(rows) do
  last = row[1]
  local flat = row[2]
  if redis.call('ZSCORE', K.purged, flat[4]) or redis.call('ZSCORE', K.purged, flat[6]) then
    redis.call('XDEL', name, last)
    gone, size = gone + 1, size + size_of(flat[8])
  end
end
if gone > 0 then redis.call('DECRBY', K.log_bytes(ARGV[1]), whole(size)) end
return {gone, #rows == most and last or ''}
