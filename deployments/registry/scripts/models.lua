#!lua flags=no-writes
-- models: every model and chain.
-- ARGV  none
-- RETURNS a list of described() in lib.lua
local found = {}
for _, id in ipairs(redis.call('HVALS', R.models)) do found[#found + 1] = described(id) end
return found
