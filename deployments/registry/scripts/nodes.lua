#!lua flags=no-writes
-- nodes: what each node said of itself last.
-- ARGV  1 how many at most
-- RETURNS {the time in ms, list of {ms when it was said, entry}}
local rows, found = redis.call('ZRANGEBYSCORE', R.nodes, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[1]), {}
for i = 1, #rows, 2 do
  local entry = redis.call('GET', R.node(rows[i]))
  if entry then found[#found + 1] = {rows[i + 1], entry} end
end
return {whole(wall_ms()), found}
