#!lua
-- register: the deployment that follows a folder: the model's `development`, and its `production` until something
-- else is promoted. The same name keeps its ids.
-- ARGV  1 name   2 kind   3 slots   4 folder   5 content hash   6 new model id   7 new deployment id   8 GPUs
--       9 GPU memory   10 '1' for a chainlet   11 the deployment whose replicas serve this one, too, else ''
--      12 warnings, as JSON   13 served names, as JSON   14 fixed port
-- RETURNS {deployment id, its fields}
local names = ARGV[10] == '1' and R.chainlets or R.models
local now, model = whole(wall_ms()), redis.call('HGET', names, ARGV[1])
if not model then
  model = ARGV[6]
  redis.call('HSET', names, ARGV[1], model)
  redis.call('HSET', R.model(model), 'name', ARGV[1], 'kind', ARGV[2], 'created', now)
end
local deployment = redis.call('HGET', R.environments(model), 'development')
if not deployment then
  deployment = ARGV[7]
  redis.call('HSET', R.environments(model), 'development', deployment)
  redis.call('SADD', R.deployments, deployment)
  redis.call('ZADD', R.deployments_of(model), now, deployment)
  redis.call('HSET', R.deployment(deployment), 'created', now, 'wanted', 1)
end
redis.call('HSETNX', R.environments(model), 'production', deployment)
redis.call('HSET', R.deployment(deployment), 'model_id', model, 'model_name', ARGV[1], 'kind', ARGV[2],
  'slots', ARGV[3], 'package', ARGV[4], 'content_hash', ARGV[5], 'gpus', ARGV[8], 'gpu_memory', ARGV[9], 'active', 1,
  'leader', ARGV[11], 'warnings', ARGV[12], 'served_names', ARGV[13], 'fixed_port', ARGV[14])
forgive(deployment)
edit(deployment)
changed()
return {deployment, redis.call('HGETALL', R.deployment(deployment))}
