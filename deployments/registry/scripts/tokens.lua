#!lua flags=no-writes
-- tokens: the tokens of gates, by their references.
-- ARGV  the references
-- RETURNS a list of tokens, with nil for one that has ended
local found = {}
for i, ref in ipairs(ARGV) do found[i] = redis.call('GET', R.host_token(ref)) end
return found
