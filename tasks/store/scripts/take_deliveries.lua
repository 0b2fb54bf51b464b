#!lua flags=allow-oom
-- take_deliveries: takes due webhook deliveries under a lease, so that those of a sender that dies are due again.
-- An API key may have no more on their way than places are still free. So another key finds a place, however many hang.
-- A host of receivers has a fixed cap.
-- ARGV  1 how many at most   2 lease ms   3 token of this taking   4 free places   5 at most for a host
--       6 how many due rows to look at   then pairs: an API key or a host, and how many are on their way there
-- RETURNS a list of {request_id, attempts so far, API key, host, record as a flat list, output}
local most, lease_ms, token, free = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local per_host, looked_at = tonumber(ARGV[5]), ARGV[6]
local now, taken, passed_over, busy = now_ms(), {}, 0, {}
for i = 7, #ARGV, 2 do busy[ARGV[i]] = tonumber(ARGV[i + 1]) end

local function has_place(api_key, host)
  return (busy[api_key] or 0) < free and (busy[host] or 0) < per_host
end

local function take(id, api_key, host)
  redis.call('ZADD', K.outbox, whole(now + lease_ms), id)
  redis.call('HSET', K.delivery(id), 'token', token)
  free, busy[api_key], busy[host] = free - 1, (busy[api_key] or 0) + 1, (busy[host] or 0) + 1
  local record = redis.call('HGETALL', K.job(id))
  taken[#taken + 1] = {id, redis.call('HGET', K.delivery(id), 'attempts') or '0', api_key, host,
    record, kept_beside(record, id, 'output')}
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.outbox, '-inf', whole(now), 'LIMIT', 0, looked_at)) do
  if #taken >= most then break end
  local job = redis.call('HMGET', K.job(id), 'key', 'webhook')
  if not job[1] then
    redis.call('ZREM', K.outbox, id)
  else
    local api_key = 'key ' .. job[1]
    local host = 'host ' .. string.lower(string.match(job[2] or '', '^%a+://([^/?#]*)') or '')
    if has_place(api_key, host) then
      take(id, api_key, host)
    else -- looked at again in a second, so that rows behind it come forward; 4 ms apart, to keep their order
      redis.call('ZADD', K.outbox, whole(now + 1000 + 4 * passed_over), id)
      passed_over = passed_over + 1
    end
  end
end
return taken
