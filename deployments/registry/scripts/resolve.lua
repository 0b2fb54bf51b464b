#!lua flags=no-writes
-- resolve: the deployment that a request is for.
-- ARGV  1 'environment' | 'deployment'   2 which   3 id or name of the model; left out = the only model
-- RETURNS {'found', model, deployment, its fields} | {'no_model'} | {'several'} | {'which', the models' names}
--   | {'no_environment'} | {'nothing_deployed'}
local model, why
if ARGV[3] then
  model, why = find(ARGV[3])
  if not model then return {why} end
else
  local known = redis.call('HGETALL', R.models)
  if #known ~= 2 then return {'which', redis.call('HKEYS', R.models)} end
  model = known[2]
end
local id = ARGV[2]
if ARGV[1] == 'environment' then
  id = redis.call('HGET', R.environments(model), ARGV[2])
  if not id then return {'no_environment'} end
  if id == '' then return {'nothing_deployed'} end
end
return {'found', model, id, redis.call('HGETALL', R.deployment(id))}
