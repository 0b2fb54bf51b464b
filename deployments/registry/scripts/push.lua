#!lua
-- push: an immutable deployment of a package; the same content again is the same deployment. The first of a model
-- becomes its `production`.
-- ARGV  1 name   2 slots   3 content hash   4 new model id   5 new deployment id   6 GPUs
--       7 GPU memory   8 warnings, as JSON   9 'model' | 'chain' | 'chainlet'   10 served names, as JSON
--       11 fixed port
-- RETURNS {'created' | 'known', deployment id, its fields} | {'other', what else has that name}
local name, hash, now = ARGV[1], ARGV[3], whole(wall_ms())
local names = ARGV[9] == 'chainlet' and R.chainlets or R.models
local model = redis.call('HGET', names, name)
if not model then
  model = ARGV[4]
  redis.call('HSET', names, name, model)
  redis.call('HSET', R.model(model), 'name', name, 'kind', ARGV[9], 'created', now)
end
local kind = redis.call('HGET', R.model(model), 'kind')
if kind ~= ARGV[9] then return {'other', kind} end
changed()
for _, id in ipairs(redis.call('ZRANGE', R.deployments_of(model), 0, -1)) do
  local known = redis.call('HMGET', R.deployment(id), 'content_hash', 'package')
  if known[1] == hash and known[2] == '' then
    redis.call('HSET', R.deployment(id), 'active', 1, 'warnings', ARGV[8], 'served_names', ARGV[10], 'fixed_port', ARGV[11])
    forgive(id)
    edit(id)
    redis.call('HDEL', R.deployment(id), 'served') -- so that it starts at once and shows whether it loads
    return {'known', id, redis.call('HGETALL', R.deployment(id))}
  end
end
local id = ARGV[5]
redis.call('SADD', R.deployments, id)
redis.call('ZADD', R.deployments_of(model), now, id)
redis.call('HSET', R.deployment(id), 'model_id', model, 'model_name', name, 'kind', ARGV[9], 'slots', ARGV[2],
  'package', '', 'content_hash', hash, 'gpus', ARGV[6], 'gpu_memory', ARGV[7], 'created', now, 'active', 1, 'wanted', 1,
  'warnings', ARGV[8], 'served_names', ARGV[10], 'fixed_port', ARGV[11])
edit(id)
redis.call('HSETNX', R.environments(model), 'production', id)
return {'created', id, redis.call('HGETALL', R.deployment(id))}
