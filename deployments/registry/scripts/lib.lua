-- Steps that several scripts share. A deployment that failed to load too often has given up: `gave_up` says until when (ms).

-- Something has changed, or it has loaded: all failures are forgotten.
local function forgive(id)
  redis.call('HDEL', R.deployment(id), unpack(FAILURE))
end

local function gave_up(id)
  return tonumber(redis.call('HGET', R.deployment(id), 'gave_up') or 0) > now_ms()
end

-- How many replicas may run now.
local function allowed(id)
  local deployment = redis.call('HMGET', R.deployment(id), 'wanted', 'active')
  if deployment[2] ~= '1' or gave_up(id) then return 0 end
  return tonumber(deployment[1] or 0)
end
