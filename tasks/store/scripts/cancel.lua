#!lua flags=allow-oom
-- cancel: QUEUED | IN_PROGRESS -> CANCELED (see lib.lua).
-- ARGV  1 request_id   2 owner's api key id, '' = any owner   3 '1' when running jobs may be cancelled
--       4 status calls a minute, 0 = no limit   5 api key id that the call counts for
-- RETURNS {'throttled', ms to wait} | {'canceled' | 'stopping' | 'running' | 'already_canceled' | 'missing'} | {'already_final', status}
local id, owner, now = ARGV[1], ARGV[2], now_ms()
local wait = throttle('status', ARGV[5], ARGV[4], 1, now)
if wait > 0 then return {'throttled', wait} end
if not is_of(owner, id) then return {'missing'} end
return {cancel(id, ARGV[3] == '1', now)}
