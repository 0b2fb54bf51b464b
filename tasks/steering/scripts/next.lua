#!lua flags=allow-oom
-- next: the next jobs of a bulk operation whose work the caller does. Nothing is changed; `advance` notes what was done.
-- ARGV  1 name of the operation   2 most matching jobs in this step   then the filter, as pairs of name and value
-- RETURNS {1 at the end else 0, created ms and member of the place that it has come to, the same after this part,
--   looked at, list of {request_id, record as a flat list}}
local filter, found = filter_from(3), {}
local state = redis.call('HMGET', K.operation(ARGV[1]), 'created', 'member', 'last', 'ended')
if state[4] == '1' then return {1, state[1], state[2], state[1], state[2], 0, found} end
filter.before = math.min(filter.before, tonumber(state[3]) + 1)
local ended, place, seen = walk(filter, false, state[1], state[2], LOOKED_AT, function(id)
  found[#found + 1] = {id, redis.call('HGETALL', K.job(id))}
  return #found >= tonumber(ARGV[2])
end)
return {ended and 1 or 0, state[1], state[2], place[1], place[2], seen, found}
