-- limits: how many jobs of an API key may run at once. A job beyond the limit is held: it leaves the queue and keeps its score.
-- When a job of its key ends, the best held job of the key goes back into the queue (lib.lua: unhold_best).

local function held_by(deployment, api_key) return K.held_by(deployment .. ':' .. api_key) end

-- True when an API key runs as many jobs of the deployment as it may.
local function at_limit(deployment, api_key)
  local limit = tonumber(redis.call('HGET', K.running_limits, api_key) or S.max_running_per_key)
  return limit > 0 and tonumber(redis.call('HGET', K.busy(deployment), api_key) or 0) >= limit
end

-- Holds a job that has just left the queue, because its API key is at the limit.
local function hold_back(deployment, api_key, member, score)
  redis.call('ZADD', K.held(deployment), score, member)
  redis.call('ZADD', held_by(deployment, api_key), score, member)
end

-- Removes a job from the held jobs of its key, if it is one of them.
local function remove_held(deployment, api_key, member)
  if redis.call('ZREM', K.held(deployment), member) == 1 then
    redis.call('ZREM', held_by(deployment, api_key), member)
  end
end

-- The member of an API key's best held job, or nil.
local function best_held(deployment, api_key)
  return redis.call('ZRANGE', held_by(deployment, api_key), 0, 0)[1]
end

-- Counts a job of an API key that begins (1) or ends (-1).
local function count_running(deployment, api_key, change)
  if redis.call('HINCRBY', K.busy(deployment), api_key, change) <= 0 then
    redis.call('HDEL', K.busy(deployment), api_key)
  end
end
