-- lib: what several verbs share. The loader puts before it: K (the keys), S (settings in ms and counts),
-- WAKEUP (a Celery message with @ID@ and @QUEUE@ to fill in), whole(), now_ms() for leases and due times, wall_ms() for
-- people, and the functions of order (priority/*.lua).

-- Whether there is such a job, and it is of that API key; the key '' stands for any.
local function is_of(owner, id)
  local key = redis.call('HGET', K.job(id), 'key')
  return key and (owner == '' or key == owner)
end

-- Pushes wake-ups for a deployment, never beyond the cap of waiting ones.
local function wake(deployment, wanted)
  local list = K.wakeups(deployment)
  local count = math.min(S.wakeup_cap - redis.call('LLEN', list), wanted)
  for _ = 1, count do
    local id = 'wakeup-' .. redis.call('INCR', K.sequence)
    local message = string.gsub(string.gsub(WAKEUP, '@ID@', id), '@QUEUE@', list)
    redis.call('LPUSH', list, message)
  end
  return math.max(count, 0)
end

local function append(list, first, second)
  list[#list + 1] = first
  list[#list + 1] = second
end

-- Adds {score, member, score, member, ...} to a zset, as many in a call as Lua's stack takes.
local function add_all(key, pairs)
  for i = 1, #pairs, 2000 do redis.call('ZADD', key, unpack(pairs, i, math.min(i + 1999, #pairs))) end
end

local function enqueue_all(deployment, queued)
  add_all(K.queue(deployment), queued)
  redis.call('SADD', K.backlog, deployment)
  return wake(deployment, #queued / 2)
end

-- An attempt waits out its backoff.
local function delay(deployment, member, not_before)
  redis.call('ZADD', K.delayed(deployment), not_before, member)
  redis.call('ZADD', K.retries, 'LT', not_before, deployment)
  redis.call('SADD', K.backlog, deployment)
end

local function enqueue(deployment, member, score) return enqueue_all(deployment, {score, member}) end

-- Wakes those who wait for news of a job: a status, or the kind of an event.
local function tell(id, kind) redis.call('PUBLISH', K.events(id), kind) end

-- The changes of status that later ones overwrite stand in the record's `story`: words like `Q1@MS` (queued again,
-- attempt 1 being over) and `I1@MS` (running), oldest first. The latest follow from other fields: see tasks/store/story.py.
-- A worker that freezes again and again makes a long story: the oldest words go, and `story_cut` counts them.
local STORY_BYTES = 4000

local function add_to_story(id, word)
  local job = redis.call('HMGET', K.job(id), 'story', 'story_cut')
  local story = (job[1] and job[1] .. ' ' or '') .. word
  if #story > STORY_BYTES then
    story = string.gsub(story, '^%S+ ', '')
    redis.call('HSET', K.job(id), 'story_cut', (job[2] or 0) + 1)
  end
  redis.call('HSET', K.job(id), 'story', story)
end

local function runs_by_story(story) return string.find(story, 'I%d+@%d+$') end

-- The load of the replica that claims a job, if it ended while the job waited: when it began and ended, in ms after the
-- submission. The replica says how long ago it ended ('' = unknown) and how long it took.
local function note_load(id, created, queued_at, at, ago, took)
  local ended = at - (tonumber(ago) or math.huge)
  if ended <= tonumber(queued_at) then return end
  redis.call('HSET', K.job(id), 'load', whole(ended - took - created) .. ' ' .. whole(ended - created))
end

-- How many changes of status a running job has behind it, its submission not counted.
local function changes_so_far(id)
  local job = redis.call('HMGET', K.job(id), 'story', 'story_cut')
  local story = job[1] or ''
  local _, words = string.gsub(story, '@', '@')
  return (job[2] or 0) + words + (runs_by_story(story) and 0 or 1)
end

-- Errors are kept as JSON objects with commas between them; readers add the brackets.
local function with_error(errors, error)
  if error == '' then return errors or '' end
  if not errors or errors == '' then return error end
  return errors .. ',' .. error
end

-- Notes in the record of a job under which id it was run anew last.
local function link_retry(id, as)
  if redis.call('EXISTS', K.job(id)) == 1 then redis.call('HSET', K.job(id), 'retried_as', as) end
end

-- A payload that nobody needs any more; the sweeper deletes it.
local function discard(ref, now) redis.call('ZADD', K.garbage, whole(now), ref) end

-- The first of these files that the API key may not use. `files` are words `id:bytes:ending`. A request that is run anew
-- may use a file that has expired meanwhile.
local function unusable_file(files, api_key, again, now)
  for id in string.gmatch(files, '(%x+):%d+:') do
    local file = redis.call('HMGET', K.file(id), 'key', 'expires')
    if file[1] ~= api_key or not again and tonumber(file[2]) <= now then return id end
  end
end

local function use_files(files)
  for id in string.gmatch(files, '(%x+):%d+:') do
    redis.call('HINCRBY', K.file(id), 'uses', 1)
    redis.call('ZREM', K.files, id)
  end
end

-- The first file that one of the jobs in ARGV may not use. Each job has `fields` values; `files` and `retry_of` are places.
local function missing_file(api_key, first, fields, files, retry_of, now)
  for i = first, #ARGV, fields do
    local missing = unusable_file(ARGV[i + files], api_key, ARGV[i + retry_of] ~= '', now)
    if missing then return missing end
  end
end

local function release_files(files)
  for id in string.gmatch(files, '(%x+):%d+:') do
    local expires = redis.call('HGET', K.file(id), 'expires')
    if expires and redis.call('HINCRBY', K.file(id), 'uses', -1) <= 0 then redis.call('ZADD', K.files, expires, id) end
  end
end

-- A file expires now; the sweeper deletes it unless a request uses it.
local function end_file(id, now)
  redis.call('HSET', K.file(id), 'expires', whole(now))
  if tonumber(redis.call('HGET', K.file(id), 'uses')) <= 0 then redis.call('ZADD', K.files, whole(now), id) end
end

local function drop_file(id, now)
  local file = redis.call('HMGET', K.file(id), 'key', 'size', 'ref')
  redis.call('DEL', K.file(id))
  redis.call('ZREM', K.files, id)
  if not file[1] then return end
  discard(file[3], now)
  redis.call('ZREM', K.listed_files(file[1]), id)
  redis.call('HINCRBY', K.files_of(file[1]), 'bytes', -file[2])
  if redis.call('HINCRBY', K.files_of(file[1]), 'count', -1) <= 0 then redis.call('DEL', K.files_of(file[1])) end
end

-- The files of a job's output: they go with it, or with the last request that uses them.
local function end_files(ids, now)
  for id in string.gmatch(ids, '%x+') do
    if redis.call('EXISTS', K.file(id)) == 1 then
      redis.call('HINCRBY', K.file(id), 'uses', -1)
      end_file(id, now)
    end
  end
end

-- Stores the input of a new job, or adopts its payload; links the job that it runs anew; and uses its files.
local function attach(id, ref, input, files, retry_of)
  if retry_of ~= '' then link_retry(retry_of, id) end
  if ref == '' and #input > IN_RECORD then redis.call('SET', K.input(id), input) end
  if ref ~= '' then redis.call('ZREM', K.garbage, ref) end
  use_files(files)
end

-- Deletes everything of a final job whose slot is free.
local function drop(id, now)
  local job = fields(id, 'key', 'output_ref', 'input_ref', 'member', 'files', 'made', 'purged', 'bucket')
  if job[5] then release_files(job[5]) end
  if job[6] then end_files(job[6], now) end
  if job[7] then redis.call('ZADD', K.purged, whole(wall_ms()), id) end
  if job[1] then
    redis.call('ZREM', K.jobs(job[1]), job[4], id) -- in an earlier version the id was the member
    redis.call('ZREM', K.all_jobs, job[4])
  end
  for i = 2, 3 do
    if job[i] then discard(job[i], now) end
  end
  if job[8] then leave_bucket(job[8], id) end
  redis.call('DEL', K.job(id), K.input(id), K.output(id), K.events(id), K.delivery(id))
  for _, index in ipairs({K.exhausted, K.outbox, K.forget}) do redis.call('ZREM', index, id) end
end

local HISTORY_MS = 3900000 -- an hour and five minutes: the history shows the last hour
local MOST_COUNTS = 10000 -- in one minute, of all deployments
-- Makes a hash a table for Redis: it searches a short list from its front.
local function long_field() return string.rep('-', 129) end

-- Counts something in the minute of `at`, for the history of a deployment: a final status, `poison`, or `wN`, a wait of
-- 2^(N/2) ms.
local function count_in_history(deployment, what, at)
  local minute = K.history(whole(math.floor(at / 60000)))
  if redis.call('HINCRBY', minute, deployment .. ':' .. what, 1) > 1 then return end
  local counts = redis.call('HLEN', minute)
  if counts == 1 then
    redis.call('PEXPIRE', minute, HISTORY_MS)
    redis.call('HSET', minute, long_field(), 0)
  end
  if counts > MOST_COUNTS then redis.call('HDEL', minute, deployment .. ':' .. what) end
end

local STEPS = 2.8853900817779268 -- 2 / ln 2, the steps in a factor of e: a step is a factor of the square root of 2
local function count_wait(deployment, created, at)
  count_in_history(deployment, 'w' .. math.floor(math.log(math.max(at - created, 1)) * STEPS), at)
end

-- Counts of one deployment since its first job, for metrics; tasks/store/totals.py lists their names. They end with the
-- deployment: jobs that outlive it are not counted.
local function is_counted(deployment) return redis.call('EXISTS', K.totals(deployment)) == 1 end

local function count(deployment, what, by) return redis.call('HINCRBY', K.totals(deployment), what, whole(by)) end

-- A duration: in the first step 2^N ms that is not shorter, and in the sum.
local LAST_STEP = 28 -- three days, and all that takes longer
local function measure(deployment, what, ms)
  local mantissa, exponent = math.frexp(math.max(ms, 1))
  count(deployment, what .. math.min(mantissa == 0.5 and exponent - 1 or exponent, LAST_STEP), 1)
  count(deployment, what .. 'ms', ms)
end

local function count_submissions(deployment, levels)
  for level, number in pairs(levels) do
    if count(deployment, 'submitted:' .. level, number) == number then
      redis.call('HSET', K.totals(deployment), long_field(), 0)
    end
  end
end

-- The code of the last of some errors, '' if there is none. Quotes in what a model said have a backslash before them.
local function code_of(errors)
  local code = ''
  for found in string.gmatch(errors, '"code": ?"([%w_]+)"') do code = found end
  return code
end

local function count_end(deployment, level, created, status, errors, at, ran)
  if not is_counted(deployment) then return end
  if ran then measure(deployment, 'run:', ran) end
  count(deployment, 'ended:' .. status .. ':' .. level .. ':' .. (status == 'SUCCEEDED' and '' or code_of(errors)), 1)
  measure(deployment, 'all:', at - created)
end

-- The one way into a final state: record, indexes, webhook outbox row and event together. `noted` are fields that an outcome
-- brings, names and values in turn, and `ran` how long its call took in ms.
local function finalize(id, status, now, errors, noted, ran)
  local job = redis.call('HMGET', K.job(id), 'webhook', 'input_ref', 'key', 'files', 'deployment', 'level', 'created', 'expires')
  local at, written = whole(wall_ms()), noted or {}
  count_in_history(job[5], status, at)
  count_end(job[5], job[6], job[7], status, errors, at, ran)
  append(written, 'status', status)
  if errors ~= '' then append(written, 'errors', errors) end
  redis.call('HSET', K.job(id), unpack(written))
  if not S.keep_inputs then
    redis.call('DEL', K.input(id))
    redis.call('HDEL', K.job(id), 'input', 'input_ref')
    if job[2] then
      discard(job[2], now)
    end
    if job[4] then
      redis.call('HDEL', K.job(id), 'files')
      release_files(job[4])
    end
  end
  redis.call('HINCRBY', K.unfinished, job[3], -1)
  if job[8] then redis.call('ZREM', K.expiry, id) end
  if job[1] and job[1] ~= '' then
    redis.call('HSET', K.delivery(id), 'status', 'PENDING', 'attempts', 0)
    redis.call('ZADD', K.outbox, whole(now), id)
  end
  if redis.call('PEXPIRE', K.events(id), S.chunks_ms) == 1 then -- so that readers learn that there were chunks, when they are gone
    redis.call('HSET', K.job(id), 'chunks_end', redis.call('XREVRANGE', K.events(id), '+', '-', 'COUNT', 1)[1][1])
  end
  note_end(id, at, forget_at(id, whole(now + S.retention_ms)))
  tell(id, status)
end

-- A job that was held back for the limit of its API key goes back into the queue.
local function unhold(deployment, member)
  local job = redis.call('HMGET', K.job(id_of(member)), 'key', 'score')
  remove_held(deployment, job[1], member)
  enqueue(deployment, member, job[2])
end

-- Lets the best held job of an API key go on, if the key may run one more.
local function unhold_best(deployment, api_key)
  local member = best_held(deployment, api_key)
  if member and not at_limit(deployment, api_key) then unhold(deployment, member) end
end

-- Takes a job out of every place where a queued one can be. It may be the one that was to go on for its API key.
local function unqueue(id)
  local job = redis.call('HMGET', K.job(id), 'deployment', 'member', 'key')
  redis.call('ZREM', K.delayed(job[1]), job[2])
  remove_held(job[1], job[3], job[2])
  if redis.call('ZREM', K.queue(job[1]), job[2]) == 1 then unhold_best(job[1], job[3]) end
end

-- QUEUED | IN_PROGRESS -> CANCELED, at once and for good. A running call loses its fence and is told to stop; its slot
-- stays taken until `stopped` says that it has really ended. Returns the word to answer with, and a final job's status.
local function cancel(id, running_too, now)
  local job = redis.call('HMGET', K.job(id), 'status', 'fence', 'errors', 'replica')
  if job[1] == 'CANCELED' then return 'already_canceled' end
  if job[1] ~= 'QUEUED' and job[1] ~= 'IN_PROGRESS' then return 'already_final', job[1] end
  if job[1] == 'QUEUED' then
    unqueue(id)
    finalize(id, 'CANCELED', now, with_error(job[3], S.canceled_error))
    return 'canceled'
  end
  if not running_too then return 'running' end
  redis.call('HSET', K.job(id), 'stopping', job[2], 'fence', '')
  finalize(id, 'CANCELED', now, with_error(job[3], S.canceled_error))
  redis.call('PUBLISH', K.cancels(job[4] or ''), id)
  return 'stopping'
end

-- Ends a job and drops all of it. Of one whose call still runs, a record stays until the sweeper sees that it has ended.
-- Its log lines go later (forget_lines.lua).
local function purge(id, now)
  cancel(id, true, now)
  redis.call('HSET', K.job(id), 'purged', 1)
  redis.call('ZREM', K.outbox, id)
  if not redis.call('ZSCORE', K.leases, id) then
    drop(id, now)
    return 'purged'
  end
  redis.call('ZADD', K.forget, whole(now), id)
  return 'stopping'
end

-- Sends the webhook of a final job again, on a fresh schedule. Returns what redeliver.lua does.
local function redeliver(id, now)
  local job = fields(id, 'finished', 'webhook')
  if not job[2] or job[2] == '' then return 'no_webhook' end
  if not job[1] then return 'not_final' end
  redis.call('HSET', K.delivery(id), 'status', 'PENDING', 'attempts', 0)
  redis.call('HDEL', K.delivery(id), 'token', 'log')
  redis.call('ZREM', K.exhausted, id)
  redis.call('ZADD', K.outbox, whole(now), id)
  return 'queued'
end

-- A queued job goes to another level, behind its own API key's jobs there.
local function set_level(id, level)
  local job = redis.call('HMGET', K.job(id), 'level', 'deployment', 'key', 'member')
  if job[1] == level then return 'unchanged' end
  local score = whole(fair_score(job[2], level, job[3], 1))
  redis.call('HSET', K.job(id), 'level', level, 'score', score)
  for _, place in ipairs({K.queue(job[2]), K.held(job[2]), held_by(job[2], job[3])}) do
    redis.call('ZADD', place, 'XX', score, job[4]) -- XX: it is in one of them, or waits out its backoff
  end
  return 'moved'
end

-- A queued job goes to another deployment, behind its API key's jobs there; an attempt waits out its backoff there.
local function move_to_deployment(id, deployment, now)
  local job = redis.call('HMGET', K.job(id), 'level', 'key', 'member', 'not_before')
  unqueue(id)
  local score = whole(fair_score(deployment, job[1], job[2], 1))
  redis.call('HSET', K.job(id), 'deployment', deployment, 'score', score)
  if tonumber(job[4] or 0) > now then
    delay(deployment, job[3], job[4])
  else
    enqueue(deployment, job[3], score)
  end
end

-- The model call of a job has ended: its slot and its lease are free, and one held job of its key may go on.
local function free_slot(id, deployment, api_key)
  redis.call('ZREM', K.leases, id)
  if redis.call('SREM', K.running(deployment), id) == 0 then return end
  count_running(deployment, api_key, -1)
  unhold_best(deployment, api_key)
end

-- Puts a job whose slot is free back to QUEUED, at its old place. not_before 0 = at once.
local function requeue(id, now, not_before, attempt)
  local job = redis.call('HMGET', K.job(id), 'deployment', 'member', 'score', 'attempt', 'started', 'story')
  local at = whole(wall_ms())
  if not runs_by_story(job[6] or '') then add_to_story(id, 'I' .. job[4] .. '@' .. job[5]) end
  add_to_story(id, 'Q' .. attempt .. '@' .. at)
  redis.call('HSET', K.job(id), 'status', 'QUEUED', 'status_at', at, 'attempt', attempt,
    'not_before', whole(not_before), 'fence', '')
  redis.call('HDEL', K.job(id), 'fraction', 'message')
  tell(id, 'QUEUED')
  if not_before > now then
    delay(job[1], job[2], whole(not_before))
  else
    enqueue(job[1], job[2], job[3])
  end
end

-- Charges the job for a worker or a host that died under it. True when that was one too many, and the job is FAILED.
local function charge_for_death(id, now, error)
  local job = redis.call('HMGET', K.job(id), 'deaths', 'errors')
  local deaths, errors = tonumber(job[1] or 0) + 1, with_error(job[2], error)
  redis.call('HSET', K.job(id), 'deaths', deaths, 'errors', errors)
  if deaths < S.max_deaths then return false end
  count_in_history(redis.call('HGET', K.job(id), 'deployment'), 'poison', wall_ms())
  local shape = '{"code":"poison","message":"The job ended its replica %d times in a row; see the errors above."}'
  finalize(id, 'FAILED', now, with_error(errors, string.format(shape, deaths)))
  return true
end

-- Moves attempts whose backoff is over back into the queue; returns how many.
local function end_backoffs(deployment, now, limit)
  local due = redis.call('ZRANGEBYSCORE', K.delayed(deployment), '-inf', whole(now), 'LIMIT', 0, limit)
  for _, member in ipairs(due) do
    redis.call('ZREM', K.delayed(deployment), member)
    enqueue(deployment, member, redis.call('HGET', K.job(id_of(member)), 'score'))
  end
  return #due
end

-- A job runs from now on: its lease, its slot, and its count for its API key.
local function take_slot(id, deployment, api_key, now)
  redis.call('ZADD', K.leases, whole(now + S.lease_ms), id)
  redis.call('SADD', K.running(deployment), id)
  count_running(deployment, api_key, 1)
end

-- Notes the latest claim of a claimer, so that asking again finds it. Some others of a new one's deployment are dropped that
-- have no job any more: their replicas may have ended, and each replica has names of its own.
local function note_claim(deployment, claimer, fence, id)
  local claims = K.claims(deployment)
  if redis.call('HSET', claims, claimer, fence .. ' ' .. id) == 0 then return end
  for _, other in ipairs(redis.call('HRANDFIELD', claims, 10)) do
    local held, job = string.match(redis.call('HGET', claims, other), '^(%S*) (.*)$')
    if redis.call('HGET', K.job(job), 'fence') ~= held then redis.call('HDEL', claims, other) end
  end
end

-- A rescued job that nobody has claimed since goes back to its worker, uncharged: it was only slow.
local function resume(id, fence, now)
  local job = redis.call('HMGET', K.job(id), 'deployment', 'key', 'attempt')
  unqueue(id)
  local at = whole(wall_ms())
  add_to_story(id, 'I' .. job[3] .. '@' .. at)
  redis.call('HSET', K.job(id), 'status', 'IN_PROGRESS', 'status_at', at, 'fence', fence)
  redis.call('HDEL', K.job(id), 'rescued')
  take_slot(id, job[1], job[2], now)
  tell(id, 'IN_PROGRESS')
end

-- True when two fences are of one worker process: their first 16 characters name it.
local function of_one_worker(fence, other) return string.sub(fence, 1, 16) == string.sub(other, 1, 16) end

-- Whether the given fence was the last of a final job. A packed record has its end only.
local function was_last(id, fence, given)
  fence = fence or fields(id, 'fence')[1] or ''
  return fence ~= '' and string.sub(given, -#fence) == fence
end

-- Whether the given fence holds the job: 'held', else the word to answer with. `job` begins with status, fence, rescued.
-- A fence still holds a job whose lease ran out, if nobody has claimed it since: then the job is running again.
local function check_fence(id, job, given, now)
  if not job[1] then return 'missing' end
  if job[1] == 'QUEUED' and job[3] == given then
    resume(id, given, now)
    return 'held'
  end
  if job[1] == 'QUEUED' or job[1] == 'IN_PROGRESS' then return job[2] == given and 'held' or 'stale_fence' end
  return was_last(id, job[2], given) and 'already_done' or 'stale_fence'
end
