-- waiting: how many jobs wait, how many of them are before a job, and why no claim takes a job.
-- From these, priority/waiting.py estimates when a job will be done and says what it waits for.

-- How many jobs of a deployment wait: in the queue, in their backoff, or held.
local function depth(deployment)
  return redis.call('ZCARD', K.queue(deployment)) + redis.call('ZCARD', K.delayed(deployment))
    + redis.call('ZCARD', K.held(deployment))
end

-- How many jobs of the queue are before this one. For a job that is held or in its backoff, they are those with a smaller score.
local function jobs_ahead(deployment, member, score)
  return redis.call('ZRANK', K.queue(deployment), member)
    or redis.call('ZCOUNT', K.queue(deployment), '-inf', '(' .. score)
end

-- When the oldest of the first jobs of a level was submitted, in ms; nil when none waits there. Jobs of one API key stand in
-- order of age, so this is exact for as many keys as it looks at.
local LOOKED_AT = 20
local function oldest(deployment, level)
  local created
  for _, place in ipairs({K.queue(deployment), K.held(deployment)}) do
    local range = {whole(level * LEVEL_STEP), '(' .. whole((level + 1) * LEVEL_STEP)}
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', place, range[1], range[2], 'LIMIT', 0, LOOKED_AT)) do
      local at = tonumber(redis.call('HGET', K.job(id_of(member)), 'created'))
      if at and (not created or at < created) then created = at end
    end
  end
  return created
end

-- Why no claim takes this job: 'paused' if its deployment is, 'key_limit' if the job is held, else ''.
local function why_held(deployment, member)
  if redis.call('SISMEMBER', K.paused, deployment) == 1 then return 'paused' end
  return redis.call('ZSCORE', K.held(deployment), member) and 'key_limit' or ''
end
