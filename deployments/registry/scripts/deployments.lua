#!lua flags=no-writes
-- deployments: their records.
-- ARGV  the deployments; none = all
-- RETURNS a list of {deployment, its fields}; a deployment that does not exist has no fields
local ids, found = ARGV, {}
if #ids == 0 then ids = redis.call('SMEMBERS', R.deployments) end
for _, id in ipairs(ids) do found[#found + 1] = {id, redis.call('HGETALL', R.deployment(id))} end
return found
