#!lua flags=allow-oom
-- delivery: how the webhook of one job stands.
-- ARGV  1 request_id   2 owner's api key id, '' = any owner
-- RETURNS {'found', URL or '', status or '', attempts as JSON with commas between, ms until the next one or -1} | {'missing'}
local id = ARGV[1]
if not is_of(ARGV[2], id) then return {'missing'} end
local delivery, due = redis.call('HMGET', K.delivery(id), 'status', 'log'), redis.call('ZSCORE', K.outbox, id)
return {'found', redis.call('HGET', K.job(id), 'webhook') or '', delivery[1] or '', delivery[2] or '',
  due and whole(math.max(due - now_ms(), 0)) or '-1'}
