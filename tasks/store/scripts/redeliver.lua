#!lua flags=allow-oom
-- redeliver: sends the webhook of a final job again, on a fresh schedule, under the same webhook-id.
-- ARGV  1 request_id   2 owner's api key id, '' = any owner
-- RETURNS 'queued' | 'not_final' | 'no_webhook' | 'missing'
local id, owner, now = ARGV[1], ARGV[2], now_ms()
if not is_of(owner, id) then return 'missing' end
local job = redis.call('HMGET', K.job(id), 'finished', 'webhook')
if not job[2] or job[2] == '' then return 'no_webhook' end
if not job[1] then return 'not_final' end
redis.call('HSET', K.delivery(id), 'status', 'PENDING', 'attempts', 0)
redis.call('HDEL', K.delivery(id), 'token', 'log')
redis.call('ZREM', K.exhausted, id)
redis.call('ZADD', K.outbox, whole(now), id)
return 'queued'
