#!lua flags=allow-oom
-- cancel: QUEUED | IN_PROGRESS -> CANCELED, at once and for good. A running call loses its fence and is told to
-- stop; its slot stays taken until `stopped` says that it has really ended.
-- ARGV  1 request_id   2 api key id or '' for any   3 '1' when running jobs may be cancelled   4 calls a minute, 0 = any
-- RETURNS {'throttled', ms} | {'canceled' | 'stopping' | 'running' | 'already_canceled' | 'missing'} | {'already_final', status}
local id, owner, running_too, per_minute = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
local now = now_ms()
local wait = throttle('status', owner, per_minute, 1, now)
if wait > 0 then return {'throttled', wait} end
local job = redis.call('HMGET', K.job(id), 'status', 'key', 'fence', 'errors')
local status = job[1]
if not status or (owner ~= '' and job[2] ~= owner) then return {'missing'} end
if status == 'CANCELED' then return {'already_canceled'} end
if status == 'QUEUED' then
  unqueue(id)
  finalize(id, 'CANCELED', now, with_error(job[4], S.canceled_error))
  return {'canceled'}
end
if status ~= 'IN_PROGRESS' then return {'already_final', status} end
if not running_too then return {'running'} end
redis.call('HSET', K.job(id), 'stopping', job[3], 'fence', '')
finalize(id, 'CANCELED', now, with_error(job[4], S.canceled_error))
redis.call('PUBLISH', K.cancels, id)
return {'stopping'}
