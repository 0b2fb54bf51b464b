-- lib: how jobs are listed and steered by a filter; comes after the lib.lua of jobs.
-- A filter is a table of words. `key` picks the index. `after` and `before` are created ms. `deployments` and `statuses`
-- have spaces between. `model` is an id. `code` and `text` are looked for in the errors; with `detailed` in the model's
-- exception, where there is one. A place in an index is {created ms, member} of the last job seen; '' = the beginning.

local function filter_from(first)
  local filter = {}
  for i = first, #ARGV, 2 do filter[ARGV[i]] = ARGV[i + 1] end
  filter.text = filter.text and string.lower(filter.text)
  filter.after, filter.before = tonumber(filter.after or 0), tonumber(filter.before or 2^53)
  return filter
end

local function has_word(words, word) return string.find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) ~= nil end

local function error_matches(error, filter)
  local told = error.message
  if filter.detailed and error.detail then told = error.detail end
  return (not filter.code or error.code == filter.code)
    and (not filter.text or string.find(string.lower(told), filter.text, 1, true) ~= nil)
end

-- Whether one of the errors has the code and the text. They are decoded only if the record has the code at all.
local function errors_match(errors, filter)
  if not errors or (filter.code and not string.find(errors, filter.code, 1, true)) then return false end
  for _, error in ipairs(cjson.decode('[' .. errors .. ']')) do
    if error_matches(error, filter) then return true end
  end
  return false
end

-- The id of a job in an index; its member is the id itself in what an earlier version wrote.
local function id_at(member) return string.sub(member, 14, 14) == ':' and id_of(member) or member end

-- The job's status, key and deployment if it matches, else nil.
local function match(member, filter)
  local id = id_at(member)
  local job = redis.call('HMGET', K.job(id), 'status', 'key', 'deployment', 'model', 'level', 'errors', 'ended')
  if not job[1] then redis.call('ZREM', K.all_jobs, member) end -- forgotten by an earlier version
  if not job[1] or (filter.key and job[2] ~= filter.key) then return nil end
  if job[7] then job[3], job[4], job[5] = string.match(job[7], '^(%S+) (%S+) (%S+)') end -- as ENDED has them
  if filter.statuses and not has_word(filter.statuses, job[1]) then return nil end
  if filter.deployments and not has_word(filter.deployments, job[3]) then return nil end
  if (filter.model and filter.model ~= job[4]) or (filter.level and filter.level ~= job[5]) then return nil end
  if (filter.code or filter.text) and not errors_match(job[6], filter) then return nil end
  return job
end

-- The rank after that place. If its job is gone, it is put back for this moment, because only a member has a rank.
local function rank_after(index, ranked, created, member)
  local added = redis.call('ZADD', index, 'NX', created, member)
  local rank = redis.call(ranked, index, member)
  if added == 1 then redis.call('ZREM', index, member) end
  return rank + 1 - added
end

-- Looks at the next `most` jobs after that place, newest or oldest first, and visits those that match. visit(id, job) ends
-- the walk by answering true. Returns whether this was the end, the next place, and how many were looked at.
local function walk(filter, newest_first, created, member, most, visit)
  local index = filter.key and K.jobs(filter.key) or K.all_jobs
  local ranked, ranged, first = 'ZRANK', 'ZRANGE', 0
  if newest_first then ranked, ranged = 'ZREVRANK', 'ZREVRANGE' end
  if member ~= '' then
    first = rank_after(index, ranked, created, member)
  elseif newest_first then
    first = redis.call('ZCOUNT', index, whole(filter.before), '+inf')
  else
    first = redis.call('ZCOUNT', index, '-inf', '(' .. whole(filter.after))
  end
  local page = redis.call(ranged, index, first, first + most - 1, 'WITHSCORES')
  for i = 1, #page, 2 do
    local at = tonumber(page[i + 1])
    local beyond = newest_first and at < filter.after or not newest_first and at >= filter.before
    if beyond then return true, {created, member}, (i - 1) / 2 end
    member, created = page[i], page[i + 1]
    local job = match(member, filter)
    if job and visit(id_at(member), job) then return false, {created, member}, (i + 1) / 2 end
  end
  return #page < 2 * most, {created, member}, #page / 2
end

-- Writes how far a bulk operation has come, and returns all of it.
local function note_progress(name, ended, place, counts)
  local key = K.operation(name)
  redis.call('HSET', key, 'ended', ended and 1 or 0, 'created', place[1], 'member', place[2])
  for field, number in pairs(counts) do redis.call('HINCRBY', key, field, number) end
  redis.call('PEXPIRE', key, redis.call('HGET', key, 'keep_ms'))
  return redis.call('HMGET', key, 'ended', 'seen', 'matched', 'done', 'failed')
end

local LOOKED_AT = 100 -- jobs in one step: other calls of the store wait for less than a millisecond

-- Goes on with the bulk operation of that name: oldest first, until `most` jobs match. Jobs that came after it began are
-- left out. The changes and how far it has come are written together, so each job counts once.
-- act(id, job) answers whether it has changed the job. Returns {1 at the end else 0, looked at, matched, done, failed}.
local function step(name, filter, most, act)
  local state = redis.call('HMGET', K.operation(name), 'created', 'member', 'last', 'ended')
  local ended, place, seen, matched, done = true, {state[1], state[2]}, 0, 0, 0
  if state[4] ~= '1' then
    filter.before = math.min(filter.before, tonumber(state[3]) + 1)
    ended, place, seen = walk(filter, false, state[1], state[2], LOOKED_AT, function(id, job)
      matched = matched + 1
      if act(id, job) then done = done + 1 end
      return matched >= most
    end)
  end
  return note_progress(name, ended, place, {seen = seen, matched = matched, done = done})
end
