-- waiting: how many wait, how many of them are before a job, and why a claim passes a job over.
-- priority/waiting.py makes the guess of the end and the words for the user from it.

-- How many jobs of a deployment wait: in the queue, in their backoff, or held.
local function depth(deployment)
  return redis.call('ZCARD', K.queue(deployment)) + redis.call('ZCARD', K.delayed(deployment))
    + redis.call('ZCARD', K.held(deployment))
end

-- How many jobs are before this one; one that is held or in its backoff counts as if it stood in the queue.
local function jobs_ahead(deployment, member, score)
  return redis.call('ZRANK', K.queue(deployment), member)
    or redis.call('ZCOUNT', K.queue(deployment), '-inf', '(' .. score)
end

-- 'paused' for the whole deployment, 'key_limit' for a job that is held, '' for any other.
local function why_held(deployment, member)
  if redis.call('SISMEMBER', K.paused, deployment) == 1 then return 'paused' end
  return redis.call('ZSCORE', K.held(deployment), member) and 'key_limit' or ''
end
