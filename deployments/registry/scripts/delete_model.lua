#!lua flags=allow-oom
-- delete_model: forgets a model that has no deployments any more, with its names and environments.
-- ARGV  1 model
-- RETURNS 'deleted' | 'missing' | 'deployments' when it has some
local model, id = R.model(ARGV[1]), ARGV[1]
local name = redis.call('HGET', model, 'name')
if not name then return 'missing' end
if redis.call('ZCARD', R.deployments_of(id)) > 0 then return 'deployments' end
for _, environment in ipairs(environments(id)) do redis.call('DEL', R.environment(id .. ':' .. environment[1])) end
for _, names in ipairs({R.models, R.chainlets}) do
  if redis.call('HGET', names, name) == id then redis.call('HDEL', names, name) end
end
changed()
redis.call('DEL', model, R.environments(id), R.deployments_of(id))
return 'deleted'
