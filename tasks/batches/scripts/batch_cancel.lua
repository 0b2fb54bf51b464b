#!lua flags=allow-oom
-- batch_cancel: a batch is to end early. Maintenance cancels its jobs and writes what there is.
-- ARGV  1 batch   2 owner's API key, '' = any owner
-- RETURNS {'cancelling', record as a flat list} | {'ended', status} | {'missing'}
local id = ARGV[1]
local batch = redis.call('HMGET', K.batch(id), 'key', 'status', 'ending', 'fence')
if not batch[1] or (ARGV[2] ~= '' and batch[1] ~= ARGV[2]) then return {'missing'} end
if batch[2] == 'validating' or batch[2] == 'in_progress' then
  if batch[3] == '' then redis.call('HSET', K.batch(id), 'ending', 'cancelled') end
  becomes(id, 'cancelling')
  if batch[4] == '' then redis.call('ZADD', K.batches, 'XX', whole(now_ms()), id) end
elseif batch[2] ~= 'cancelling' then
  return {'ended', batch[2]}
end
return {'cancelling', redis.call('HGETALL', K.batch(id))}
