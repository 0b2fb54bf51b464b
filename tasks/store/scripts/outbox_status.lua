#!lua flags=allow-oom
-- outbox_status: how many webhooks are on their way and how many were given up; the latest of those, and the next to be tried.
-- ARGV  1 how many of each at most
-- RETURNS {pending, exhausted, list of {request_id, given up ms, URL, attempts as JSON with commas between},
--   list of {request_id, ms until its next attempt, -1 while one runs, URL, attempts likewise}}
local latest, next_ones, most, now = {}, {}, tonumber(ARGV[1]), now_ms()
local function told(id, at)
  return {id, at, redis.call('HGET', K.job(id), 'webhook') or '', redis.call('HGET', K.delivery(id), 'log') or ''}
end

if most > 0 then
  for _, id in ipairs(redis.call('ZREVRANGE', K.exhausted, 0, most - 1)) do
    latest[#latest + 1] = told(id, redis.call('ZSCORE', K.exhausted, id))
  end
  local due = redis.call('ZRANGE', K.outbox, 0, most - 1, 'WITHSCORES')
  for i = 1, #due, 2 do
    local runs = redis.call('HEXISTS', K.delivery(due[i]), 'token') == 1
    next_ones[#next_ones + 1] = told(due[i], runs and '-1' or whole(math.max(due[i + 1] - now, 0)))
  end
end
return {redis.call('ZCARD', K.outbox), redis.call('ZCARD', K.exhausted), latest, next_ones}
