-- cancel: QUEUED | IN_PROGRESS -> CANCELED, at once and for good. A running call loses its fence and is told to
-- stop; its slot stays taken until `stopped` says that it has really ended.
-- ARGV  1 request_id   2 api key id or '' for any   3 '1' when running jobs may be cancelled
-- RETURNS {'canceled' | 'stopping' | 'running' | 'already_canceled' | 'missing'} | {'already_final', status}
local id, now = ARGV[1], now_ms()
local job = redis.call('HMGET', K.job(id), 'status', 'key', 'deployment', 'member', 'fence', 'errors')
local status, deployment = job[1], job[3]
if not status or (ARGV[2] ~= '' and job[2] ~= ARGV[2]) then return {'missing'} end
if status == 'CANCELED' then return {'already_canceled'} end
if status == 'QUEUED' then
  redis.call('ZREM', K.queue(deployment), job[4])
  redis.call('ZREM', K.delayed(deployment), job[4])
  finalize(id, 'CANCELED', now, with_error(job[6], S.canceled_error))
  return {'canceled'}
end
if status ~= 'IN_PROGRESS' then return {'already_final', status} end
if ARGV[3] ~= '1' then return {'running'} end
redis.call('HSET', K.job(id), 'stopping', job[5], 'fence', '')
finalize(id, 'CANCELED', now, with_error(job[6], S.canceled_error))
redis.call('PUBLISH', K.cancels, id)
return {'stopping'}
