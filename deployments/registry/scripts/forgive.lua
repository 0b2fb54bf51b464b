#!lua flags=allow-oom
-- forgive: something has changed, or somebody asks by hand: a deployment that gave up is loaded again.
-- ARGV  the deployments
-- RETURNS 'forgiven'
for _, id in ipairs(ARGV) do forgive(id) end
return 'forgiven'
