#!lua flags=allow-oom
-- promote: makes a deployment the candidate of an environment; the autoscaler switches when it is warm. An
-- environment that points at nothing yet switches at once.
-- ARGV  1 model   2 environment   3 deployment
-- RETURNS 'switched' | 'warming' | 'unchanged' | 'missing'
local model, name, id = ARGV[1], ARGV[2], ARGV[3]
if not redis.call('ZSCORE', R.deployments_of(model), id) then return 'missing' end
changed()
redis.call('HSET', R.deployment(id), 'active', 1)
redis.call('HDEL', R.deployment(id), 'retired')
forgive(id)
edit(id)
local environment, now = R.environment(model .. ':' .. name), whole(wall_ms())
redis.call('HSETNX', environment, 'created', now)
local current = redis.call('HGET', R.environments(model), name)
if current == id then
  redis.call('HDEL', environment, 'candidate')
  return 'unchanged'
end
if not current or current == '' then
  redis.call('HSET', R.environments(model), name, id)
  redis.call('HSET', environment, 'switched', now)
  return 'switched'
end
redis.call('HSET', environment, 'candidate', id)
redis.call('SADD', R.warming, model)
return 'warming'
