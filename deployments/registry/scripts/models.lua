#!lua flags=no-writes
-- models: models and chains.
-- ARGV  the ids; none = all
-- RETURNS a list of described() in lib.lua; a model that does not exist has no fields
local ids, found = ARGV, {}
if #ids == 0 then ids = redis.call('HVALS', R.models) end
for _, id in ipairs(ids) do found[#found + 1] = described(id) end
return found
