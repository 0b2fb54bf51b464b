#!lua
-- keep_lines: appends log lines of a deployment. Lines that are too old, or beyond the limits, go.
-- Ids rise over all deployments, in the order in which the lines came: one id is a place in all of them.
-- ARGV  1 deployment   2.. level, request id, id of the chain's run, line, ...
-- RETURNS how many lines went
local name, sizes = K.log(ARGV[1]), K.log_bytes(ARGV[1])
local size, oldest, last = tonumber(redis.call('GET', sizes) or '0'), kept_since(), nil
local ms, number = parts(redis.call('GET', K.log_end) or '0-0')
local now = wall_ms()
if now > ms then ms, number = now, 0 end
for i = 2, #ARGV, 4 do
  number = number + 1
  last = whole(ms) .. '-' .. whole(number)
  redis.call('XADD', name, last, 'level', ARGV[i], 'request', ARGV[i + 1], 'chain', ARGV[i + 2], 'line', ARGV[i + 3])
  size = size + size_of(ARGV[i + 3])
end
if not last then return 0 end

local count, gone, gone_to = redis.call('XLEN', name), 0, nil
local first = redis.call('XRANGE', name, '-', '+', 'COUNT', 1)[1]
if count > LOG_LINES or size > LOG_BYTES or parts(first[1]) < oldest then
  -- More than came now, so that the log gets within its limits also after these were made smaller.
  for _, row in ipairs(redis.call('XRANGE', name, '-', '+', 'COUNT', #ARGV + 100)) do
    if count <= LOG_LINES and size <= LOG_BYTES and parts(row[1]) >= oldest then break end
    count, size, gone, gone_to = count - 1, size - size_of(row[2][8]), gone + 1, row[1]
  end
end
if gone_to then
  local gone_ms, gone_number = parts(gone_to)
  redis.call('XTRIM', name, 'MINID', '=', whole(gone_ms) .. '-' .. whole(gone_number + 1))
end
redis.call('SET', sizes, whole(size), 'PX', whole(LOG_MS))
redis.call('PEXPIRE', name, whole(LOG_MS))
redis.call('SET', K.log_end, last)
redis.call('ZADD', K.logged, whole(ms), ARGV[1])
redis.call('ZREMRANGEBYSCORE', K.logged, '-inf', '(' .. whole(oldest))
return gone
