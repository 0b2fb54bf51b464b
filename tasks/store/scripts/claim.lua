#!lua flags=allow-oom
-- claim: QUEUED -> IN_PROGRESS for the best job of a deployment, with a new fence and a lease. Asking again with the same
-- fence, after a lost reply, answers with the same job. A rescued job goes back under its old fence when the same worker
-- asks: a fence begins with its worker's name. A claim of any other worker charges the job for a death.
-- ARGV  1 deployment   2 claimer (one per worker thread)   3 fence   4 replica
--       5 ms since the model of the replica was loaded, '' = unknown   6 ms that its load took
-- RETURNS {'claimed', request_id, record as a flat list, input, fence} | {'empty'}
local now, deployment, claimer, fence, replica = now_ms(), ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function claimed(id, under)
  local record = redis.call('HGETALL', K.job(id))
  return {'claimed', id, record, kept_beside(record, id, 'input'), under}
end

local last = redis.call('HGET', K.claims(deployment), claimer)
if last and string.sub(last, 1, #fence) == fence then
  local id = string.sub(last, #fence + 2)
  local job = redis.call('HMGET', K.job(id), 'status', 'fence')
  if check_fence(id, job, fence, now) == 'held' then return claimed(id, fence) end
end

if redis.call('SISMEMBER', K.paused, deployment) == 1 then return {'empty'} end
end_backoffs(deployment, now, 10) -- a few in each claim; the sweeper moves the rest
for _ = 1, 100 do -- jobs at most that are passed over, so that the script stays short
  local member, score = pop_best(deployment)
  if not member then break end
  local id = id_of(member)
  local job = redis.call('HMGET', K.job(id), 'status', 'attempt', 'expires', 'level', 'key', 'rescued', 'created',
    'status_at')
  if job[1] == 'QUEUED' and job[3] and tonumber(job[3]) <= now then
    finalize(id, 'EXPIRED', now, S.expired_error)
    unhold_best(deployment, job[5]) -- it may have been the one that was to go on for its API key
  elseif job[1] == 'QUEUED' and at_limit(deployment, job[5]) then
    hold_back(deployment, job[5], member, score)
  elseif job[1] == 'QUEUED' and job[6] and of_one_worker(job[6], fence) then
    resume(id, job[6], now)
    return claimed(id, job[6])
  elseif job[1] == 'QUEUED' and not (job[6] and charge_for_death(id, now, S.rescued_error)) then
    advance_virtual_time(deployment, job[4], score)
    local at = whole(wall_ms())
    if job[3] then
      count_wait(deployment, job[7], at)
      if is_counted(deployment) then measure(deployment, 'wait:', at - job[7]) end
    end
    note_load(id, job[7], job[8], at, ARGV[5], ARGV[6])
    redis.call('HSET', K.job(id), 'status', 'IN_PROGRESS', 'status_at', at, 'started', at,
      'attempt', job[2] + 1, 'fence', fence, 'replica', replica)
    redis.call('HDEL', K.job(id), 'expires', 'rescued') -- the clock of the queue ends with the first claim
    redis.call('ZREM', K.expiry, id)
    take_slot(id, deployment, job[5], now)
    note_claim(deployment, claimer, fence, id)
    tell(id, 'IN_PROGRESS')
    return claimed(id, fence)
  end
end
if redis.call('ZCARD', K.queue(deployment)) > 0 then
  wake(deployment, 1) -- a hundred were held back or had expired: the next claim goes on from there
elseif redis.call('ZCARD', K.held(deployment)) == 0 then
  end_busy_period(deployment)
end
return {'empty'}
