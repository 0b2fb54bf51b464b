#!lua flags=no-writes
-- knows: whether a client may mean a model by an id or a name.
-- ARGV  1 id or name
-- RETURNS 'found' | 'no_model' | 'several'
local id, why = find(ARGV[1])
return id and 'found' or why
