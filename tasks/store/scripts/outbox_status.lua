#!lua flags=allow-oom
-- outbox_status: how many webhooks are on their way and how many were given up; the latest of those.
-- ARGV  1 how many of the latest at most
-- RETURNS {pending, exhausted, list of {request_id, given up ms, URL, attempts as JSON with commas between}}
local latest, most = {}, tonumber(ARGV[1])
for _, id in ipairs(most > 0 and redis.call('ZREVRANGE', K.exhausted, 0, most - 1) or {}) do
  latest[#latest + 1] = {id, redis.call('ZSCORE', K.exhausted, id), redis.call('HGET', K.job(id), 'webhook') or '',
    redis.call('HGET', K.delivery(id), 'log') or ''}
end
return {redis.call('ZCARD', K.outbox), redis.call('ZCARD', K.exhausted), latest}
