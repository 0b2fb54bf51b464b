#!lua flags=allow-oom
-- redeliver: sends the webhook of a final job again, on a fresh schedule, under the same webhook-id.
-- ARGV  1 request_id   2 owner's api key id, '' = any owner
-- RETURNS 'queued' | 'not_final' | 'no_webhook' | 'missing'
local id, owner = ARGV[1], ARGV[2]
if not is_of(owner, id) then return 'missing' end
return redeliver(id, now_ms())
