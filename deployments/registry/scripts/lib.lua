-- Steps that several scripts share. A deployment that failed to load too often has given up: `gave_up` says until when (ms).

-- What models, deployments and environments are shown as has changed: whoever shows them asks again.
local function changed() redis.call('INCR', R.revision) end

local function gave_up(id)
  return tonumber(redis.call('HGET', R.deployment(id), 'gave_up') or 0) > now_ms()
end

-- How many replicas may run now.
local function allowed(id)
  local deployment = redis.call('HMGET', R.deployment(id), 'wanted', 'active')
  if deployment[2] ~= '1' or gave_up(id) then return 0 end
  return tonumber(deployment[1] or 0)
end

-- Nodes look for a seat only of deployments that may have a free one. Seats that lapsed are free when somebody looks (lapse.lua).
local function note_vacancy(id)
  local free = redis.call('ZCARD', R.seats(id)) < allowed(id)
  redis.call(free and 'SADD' or 'SREM', R.vacant, id)
end

local function end_lapsed_seats(id, now)
  if redis.call('ZREMRANGEBYSCORE', R.seats(id), '-inf', whole(now)) > 0 then note_vacancy(id) end
end

-- The record of a deployment has changed: whoever follows all records reads this one again (edited.lua).
local function edit(id)
  redis.call('ZADD', R.edited, redis.call('INCR', R.edits), id)
  note_vacancy(id)
end

local function forget_replica(id)
  redis.call('SREM', R.replicas, id)
  redis.call('ZREM', R.replica_ends, id)
  redis.call('ZREM', R.edited_replicas, id)
end

-- Replicas whose entries have ended without a word, at most so many.
local function ended_replicas(most)
  local ended = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', R.replica_ends, '-inf', whole(wall_ms()), 'LIMIT', 0, most)) do
    if redis.call('EXISTS', R.replica(id)) == 0 then ended[#ended + 1] = id end
  end
  return ended
end

-- Forgets all failures of a deployment, because something has changed or it has loaded.
local function forgive(id)
  if redis.call('HDEL', R.deployment(id), unpack(FAILURE)) > 0 then
    edit(id)
    changed()
  end
end

-- The environments of a model: a list of {name, deployment, fields}.
local function environments(model)
  local found, pointers = {}, redis.call('HGETALL', R.environments(model))
  for i = 1, #pointers, 2 do
    local fields = redis.call('HGETALL', R.environment(model .. ':' .. pointers[i]))
    found[#found + 1] = {pointers[i], pointers[i + 1], fields}
  end
  return found
end

-- A model in full: {id, fields, its environments}.
local function described(id)
  return {id, redis.call('HGETALL', R.model(id)), environments(id)}
end

-- The id of the model that a client means: by an id, a model's or chain's name, a chainlet's, or an entrypoint's.
-- Else nil and why: 'no_model', or 'several' chains with such an entrypoint.
local function find(reference)
  if redis.call('EXISTS', R.model(reference)) == 1 then return reference end
  local named = redis.call('HGET', R.models, reference) or redis.call('HGET', R.chainlets, reference)
  if named then return named end
  local chains = redis.call('SMEMBERS', R.alias(reference))
  if #chains == 1 then return chains[1] end
  return nil, #chains == 0 and 'no_model' or 'several'
end
