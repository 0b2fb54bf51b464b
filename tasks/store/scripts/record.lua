-- record: where the parts of a job are kept, and how little of a final one. It comes before lib.lua.

-- What every final job has is one field of its record, `ended`: these values with spaces between, '-' for none. `started`
-- and `finished` are ms after the time before them, `sequence` begins its member, `fence` is the end of its last one, and
-- `bucket` says where it waits to be forgotten. In a replica's id, '~' stands for that of its deployment and '-'. What only
-- some jobs have keeps a field of its own. tasks/store/records.py reads the same.
local ENDED = {'deployment', 'model', 'level', 'attempt', 'created', 'started', 'finished', 'predict_ms', 'replica',
  'sequence', 'fence', 'bucket'}
local MOST_ENDED = 128 -- bytes; a longer field would make a table of the hash

-- The fields that `ended` stands for, by name.
local function unpacked(id, ended)
  local job, n = {}, 0
  for word in string.gmatch(ended, '%S+') do
    n = n + 1
    if word ~= '-' then job[ENDED[n]] = word end
  end
  local at = job.created
  for _, time in ipairs({'started', 'finished'}) do
    if job[time] then
      at = at + job[time]
      job[time] = whole(at)
    end
  end
  if job.replica and string.sub(job.replica, 1, 1) == '~' then
    job.replica = job.deployment .. '-' .. string.sub(job.replica, 2)
  end
  job.member, job.status_at = member_of(job.sequence, id), job.finished
  return job
end

-- Fields of a record as a list, also of a final job. Only those that every job keeps by name (status, key, webhook and all
-- that few jobs have) may be read without it.
local function fields(id, ...)
  local names = {...}
  local last = #names + 1
  names[last] = 'ended'
  local job = redis.call('HMGET', K.job(id), unpack(names))
  if job[last] then
    local ended = unpacked(id, job[last])
    for n, name in ipairs(names) do job[n] = job[n] or ended[name] end
  end
  return job
end

-- Packs the record of a final job whose call has ended, and returns whether it did: a record that would not come out the
-- same stays as it is. `finished` and `bucket` are given if the record does not have them yet.
local function pack(id, finished, bucket)
  local found, job, words = redis.call('HMGET', K.job(id), 'stopping', 'member', unpack(ENDED)), {}, {}
  if found[1] or not found[2] then return false end
  for n, name in ipairs(ENDED) do
    local value = found[n + 2]
    if value == '-' or value and string.sub(value, 1, 1) == '~' then return false end
    job[name] = value or '-'
  end
  job.finished, job.bucket = finished or job.finished, bucket or job.bucket
  job.sequence = string.match(found[2], '^0*(%d+):') or '-'
  job.fence = job.fence == '' and '-' or string.sub(job.fence, -6)
  local before = job.deployment .. '-'
  if string.sub(job.replica, 1, #before) == before then job.replica = '~' .. string.sub(job.replica, #before + 1) end
  job.predict_ms = string.gsub(job.predict_ms, '(%.%d-)0+$', '%1') -- 12.500 is 12.5, and 12.000 is 12.
  local at = job.created
  for _, time in ipairs({'started', 'finished'}) do
    local ms = job[time]
    if ms ~= '-' then job[time], at = whole(ms - at), ms end
  end
  for n, name in ipairs(ENDED) do
    if not string.find(job[name], '^%S+$') then return false end
    words[n] = job[name]
  end
  local ended = table.concat(words, ' ')
  if #ended > MOST_ENDED or member_of(job.sequence, id) ~= found[2] then return false end
  redis.call('HDEL', K.job(id), 'member', 'score', 'status_at', 'expires', unpack(ENDED))
  redis.call('HSET', K.job(id), 'ended', ended)
  return true
end

-- Writes when a job became final.
local function note_end(id, at, bucket)
  if not pack(id, at, bucket) then
    redis.call('HSET', K.job(id), 'status_at', at, 'finished', at, 'bucket', bucket)
  end
end

local IN_RECORD = 128 -- bytes of an input or an output that is a field of the record; a longer one has a key of its own

-- The input or the output of a job, '' if it is not here.
local function kept(id, what) return redis.call('HGET', K.job(id), what) or redis.call('GET', K[what](id)) or '' end

-- The same, if the whole record is known.
local function kept_beside(record, id, what)
  for n = 1, #record, 2 do
    if record[n] == what then return record[n + 1] end
  end
  return redis.call('GET', K[what](id)) or ''
end

local IN_BUCKET = 100 -- a sorted set of up to 128 members is a list for Redis, which takes half of the bytes for each

-- A job is to be forgotten at `due`: with those that ended before and after it, in a set of its own. Returns its number.
local function forget_at(id, due)
  local bucket = whole(math.floor(redis.call('INCR', K.ended_count) / IN_BUCKET))
  redis.call('ZADD', K.ended(bucket), due, id)
  redis.call('ZADD', K.ended_buckets, 'LT', due, bucket) -- LT: the clock may have gone back a little
  return bucket
end

local function leave_bucket(bucket, id)
  if redis.call('ZREM', K.ended(bucket), id) == 1 and redis.call('EXISTS', K.ended(bucket)) == 0 then
    redis.call('ZREM', K.ended_buckets, bucket)
  end
end
