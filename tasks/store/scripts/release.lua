#!lua flags=allow-oom
-- release: IN_PROGRESS -> QUEUED, only for the lease holder: after an error that is retried ('retry', the attempt
-- counts, waits out its backoff), on a drain ('drain', no attempt charged, old place, after the delay if there is one),
-- because the host died under it ('death', counts towards poison), or got sick under it ('sick', the same, but no attempt
-- charged).
-- ARGV  1 request_id   2 fence   3 reason   4 delay ms   5 error as JSON or ''
-- RETURNS 'done' | 'poison' | 'already_done' | 'stale_fence' | 'missing'
local id, fence, reason, delay_ms, error = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local now = now_ms()
local job = redis.call('HMGET', K.job(id), 'status', 'fence', 'rescued', 'deployment', 'attempt', 'errors', 'released')
if job[7] == fence then return 'already_done' end
local word = hold(id, job, fence, now)
if word ~= 'held' then return word end
redis.call('HSET', K.job(id), 'released', fence)
free_slot(id, job[4])
if reason == 'death' or reason == 'sick' then
  if mourn(id, now, error) then return 'poison' end
  requeue(id, now, 0, reason == 'sick' and job[5] - 1 or job[5])
elseif reason == 'drain' then
  requeue(id, now, now + delay_ms, job[5] - 1)
else
  redis.call('HSET', K.job(id), 'deaths', 0, 'errors', with_error(job[6], error))
  requeue(id, now, now + delay_ms, job[5])
end
return 'done'
