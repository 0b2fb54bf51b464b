#!lua flags=allow-oom
-- delete_deployment: forgets a deployment, with its places in environments. Its replicas lose their seats. Requests that
-- are left can still be canceled, and expire.
-- ARGV  1 deployment   2 '1' = also one with requests   3 '1' = also one that an environment points at
-- RETURNS {'deleted' | 'missing' | 'shared' | 'followed'} | {'work', requests} | {'environment', its name}
local id = ARGV[1]
local known = redis.call('HMGET', R.deployment(id), 'model_id', 'package', 'leader')
local model = known[1]
if not model then return {'missing'} end
if known[2] ~= '' then return {'followed'} end
if (known[3] or '') ~= '' then return {'shared'} end
local work = redis.call('ZCARD', K.queue(id)) + redis.call('ZCARD', K.delayed(id)) + redis.call('ZCARD', K.held(id))
  + redis.call('SCARD', K.running(id))
if work > 0 and ARGV[2] ~= '1' then return {'work', whole(work)} end
for _, environment in ipairs(environments(model)) do
  if environment[2] == id and ARGV[3] ~= '1' then return {'environment', environment[1]} end
end
for _, environment in ipairs(environments(model)) do
  local name, fields = environment[1], R.environment(model .. ':' .. environment[1])
  if environment[2] == id and name == 'production' then
    redis.call('HDEL', R.environments(model), name) -- the next deployment becomes it
  elseif environment[2] == id then
    redis.call('HSET', R.environments(model), name, '')
  end
  for _, role in ipairs({'candidate', 'previous'}) do
    if redis.call('HGET', fields, role) == id then redis.call('HDEL', fields, role) end
  end
end
changed()
redis.call('SREM', R.deployments, id)
redis.call('ZREM', R.deployments_of(model), id)
redis.call('ZREM', R.needy, id)
redis.call('ZREM', R.edited, id)
redis.call('SREM', R.demanded, id)
redis.call('SREM', R.vacant, id)
redis.call('SREM', K.paused, id)
redis.call('DEL', R.deployment(id), R.chainlets_of(id), R.seats(id), R.demand(id), R.load_counts(id), K.wakeups(id), K.runtimes(id), K.totals(id))
return {'deleted'}
