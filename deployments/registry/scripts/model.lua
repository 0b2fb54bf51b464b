#!lua flags=no-writes
-- model: the model or chain of an id or a name. The name of an entrypoint means its chain, if only one chain has it.
-- ARGV  1 id or name
-- RETURNS described() of it in lib.lua; one that does not exist has no fields
local id = redis.call('HGET', R.models, ARGV[1])
if not id then
  local chains = redis.call('SMEMBERS', R.alias(ARGV[1]))
  id = #chains == 1 and chains[1] or ARGV[1]
end
return described(id)
