#!lua flags=allow-oom
-- release: IN_PROGRESS -> QUEUED, only for the lease holder. The reasons:
--   'retry'  an error that is retried: the attempt counts, and the delay is its backoff
--   'drain'  given back for no fault of its own (the replica stops; its host was ended, or refused it): no attempt is charged, and
--            the job keeps its place; it waits for the delay, if there is one
--   'death'  the host died under it: the attempt counts, and the death counts towards poison
--   'sick'   the host got sick under it: the same, but no attempt is charged
-- ARGV  1 request_id   2 fence   3 reason   4 delay ms   5 error as JSON or ''
-- RETURNS 'done' | 'poison' | 'already_done' | 'stale_fence' | 'missing'
local id, fence, reason, delay_ms, error = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local now = now_ms()
local job = redis.call('HMGET', K.job(id), 'status', 'fence', 'rescued', 'deployment', 'attempt', 'errors', 'released',
  'key')
if job[7] == fence then return 'already_done' end
local word = check_fence(id, job, fence, now)
if word ~= 'held' then return word end
redis.call('HSET', K.job(id), 'released', fence)
free_slot(id, job[4], job[8])
if is_counted(job[4]) then count(job[4], 'again:' .. reason, 1) end
if reason == 'death' or reason == 'sick' then
  if charge_for_death(id, now, error) then return 'poison' end
  requeue(id, now, 0, reason == 'sick' and job[5] - 1 or job[5])
elseif reason == 'drain' then
  requeue(id, now, now + delay_ms, job[5] - 1)
else
  redis.call('HSET', K.job(id), 'deaths', 0, 'errors', with_error(job[6], error))
  requeue(id, now, now + delay_ms, job[5])
end
return 'done'
