#!lua flags=allow-oom
-- warming: the models with a candidate that is to take over an environment.
-- ARGV  models that may have one, besides those that promote.lua has noted
-- RETURNS a list of {model, its fields, its environments}
local found = {}
if #ARGV > 0 then redis.call('SADD', R.warming, unpack(ARGV)) end
for _, id in ipairs(redis.call('SMEMBERS', R.warming)) do
  local model, waits = described(id), false
  for _, environment in ipairs(model[3]) do
    for n = 1, #environment[3], 2 do waits = waits or environment[3][n] == 'candidate' end
  end
  if waits then found[#found + 1] = model else redis.call('SREM', R.warming, id) end
end
return found
