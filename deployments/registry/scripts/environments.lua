#!lua flags=no-writes
-- environments: those of a model, as environments() in lib.lua has them.
-- ARGV  1 model
-- RETURNS a list of {environment, deployment, fields}
return environments(ARGV[1])
