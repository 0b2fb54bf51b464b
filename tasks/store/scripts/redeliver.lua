#!lua flags=allow-oom
-- redeliver: sends the webhook of a final job again, on a fresh schedule, under the same webhook-id.
-- ARGV  1 request_id   2 api key id or '' for any
-- RETURNS 'queued' | 'not_final' | 'no_webhook' | 'missing'
local id, owner, now = ARGV[1], ARGV[2], now_ms()
local job = redis.call('HMGET', K.job(id), 'key', 'finished', 'webhook')
if not job[1] or (owner ~= '' and job[1] ~= owner) then return 'missing' end
if not job[3] or job[3] == '' then return 'no_webhook' end
if not job[2] then return 'not_final' end
redis.call('HSET', K.delivery(id), 'status', 'PENDING', 'attempts', 0)
redis.call('HDEL', K.delivery(id), 'token', 'log')
redis.call('ZREM', K.exhausted, id)
redis.call('ZADD', K.outbox, whole(now), id)
return 'queued'
