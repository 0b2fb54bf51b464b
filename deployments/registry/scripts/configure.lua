#!lua flags=allow-oom
-- configure: changes some autoscaling settings of a deployment.
-- ARGV  1 deployment   then names and values
-- RETURNS 'changed' | 'unchanged' | 'missing'
local deployment, word = R.deployment(ARGV[1]), 'unchanged'
if redis.call('EXISTS', deployment) == 0 then return 'missing' end
for i = 2, #ARGV, 2 do
  if redis.call('HGET', deployment, ARGV[i]) ~= ARGV[i + 1] then
    redis.call('HSET', deployment, ARGV[i], ARGV[i + 1])
    word = 'changed'
  end
end
if word == 'changed' then
  edit(ARGV[1])
  changed()
end
return word
