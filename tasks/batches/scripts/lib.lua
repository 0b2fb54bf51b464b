-- Steps that several scripts of batches share; comes after those of jobs and of files.
-- A maintenance process that works on a batch has its turn: a fence, and TURN_MS until another process takes over.

local TURN_MS = 5000

-- Whether that fence still has the turn. If so, it lasts longer.
local function has_turn(id, fence)
  if redis.call('HGET', K.batch(id), 'fence') ~= fence then return false end
  redis.call('ZADD', K.batches, 'XX', whole(now_ms() + TURN_MS), id)
  return true
end

-- The batch has that status from now on.
local function becomes(id, status)
  redis.call('HSET', K.batch(id), 'status', status, status .. '_at', whole(wall_ms()))
end

-- The batch is over: nobody works on it any more, its input may go, and its record goes after the retention.
local function close_batch(id)
  local batch = redis.call('HMGET', K.batch(id), 'key', 'input', 'input_bytes')
  redis.call('ZREM', K.batches, id)
  release_files(batch[2] .. ':' .. batch[3] .. ':')
  if redis.call('HINCRBY', K.open_batches, batch[1], -1) <= 0 then redis.call('HDEL', K.open_batches, batch[1]) end
  redis.call('HDEL', K.batch(id), 'starts', 'fence')
  redis.call('DEL', K.batch_parts(id), K.batch_sizes(id))
  redis.call('PEXPIRE', K.batch(id), whole(S.retention_ms))
end

-- A job whose result is written is not kept any longer.
local function let_go(id, now)
  local status = redis.call('HGET', K.job(id), 'status')
  if not status then return end
  if status == 'QUEUED' or status == 'IN_PROGRESS' or redis.call('ZSCORE', K.leases, id) then
    redis.call('ZADD', K.forget, whole(now), id)
  else
    drop(id, now)
  end
end
