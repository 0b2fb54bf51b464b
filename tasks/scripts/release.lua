-- release: IN_PROGRESS -> QUEUED, only for the lease holder: after an error that is retried ('retry', the attempt
-- counts, waits out its backoff), on a drain ('drain', no attempt charged, old place), or because the host died
-- under it ('death', counts towards poison).
-- ARGV  1 request_id   2 fence   3 reason   4 delay ms   5 error as JSON or ''
-- RETURNS 'done' | 'poison' | 'already_done' | 'stale_fence' | 'missing'
local id, reason, now = ARGV[1], ARGV[3], now_ms()
local job = redis.call('HMGET', K.job(id), 'status', 'fence', 'attempt', 'errors', 'released')
local word = check_fence(job[1], job[2], ARGV[2])
if job[5] == ARGV[2] then word = 'already_done' end
if word ~= 'held' then return word end
redis.call('HSET', K.job(id), 'released', ARGV[2])
if reason == 'death' then
  return mourn(id, now, ARGV[5]) == 'poison' and 'poison' or 'done'
elseif reason == 'drain' then
  requeue(id, now, 0, job[3] - 1)
else
  redis.call('HSET', K.job(id), 'deaths', 0, 'errors', with_error(job[4], ARGV[5]))
  requeue(id, now, now + tonumber(ARGV[4]), job[3])
end
return 'done'
