#!lua flags=allow-oom
-- redeliver_many: the next step of a bulk operation that sends webhooks again whose delivery was given up, oldest first.
-- It needs no place: what it sends leaves the index. Those that are given up after it began, perhaps once more, are left out.
-- ARGV  1 name of the operation   2 most webhooks in this step
-- RETURNS {1 at the end else 0, looked at, matched, done, failed}, as counted since it began
local name, most, now, done = ARGV[1], tonumber(ARGV[2]), now_ms(), 0
local key = K.operation(name)
local last = redis.call('HGET', key, 'last')
redis.call('HSETNX', key, 'total', redis.call('ZCOUNT', K.exhausted, '-inf', last))
local state = redis.call('HMGET', key, 'total', 'seen', 'ended')
local left = state[3] == '1' and 0 or math.min(most, state[1] - state[2]) -- the total also bounds it if a clock was set back
local ids = left > 0 and redis.call('ZRANGE', K.exhausted, '-inf', last, 'BYSCORE', 'LIMIT', 0, left) or {}
for _, id in ipairs(ids) do
  if redeliver(id, now) == 'queued' then
    done = done + 1
  else
    redis.call('ZREM', K.exhausted, id) -- what is not there cannot be sent
  end
end
return note_progress(name, #ids < most, {'', ''}, {seen = #ids, matched = #ids, done = done, failed = #ids - done})
