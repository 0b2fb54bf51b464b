#!lua flags=allow-oom
-- move: moves a QUEUED job to another level, to another deployment of its model, or both, behind its own API key's jobs there.
-- ARGV  1 request_id   2 owner's api key id, '' = any owner   3 level, '' = its own   4 deployment, '' = its own
--       5 model of that deployment   6 how many jobs may wait there
-- RETURNS 'moved' | 'unchanged' | 'not_queued' | 'other_model' | 'full' | 'missing'
local id, owner, level, deployment = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not is_of(owner, id) then return 'missing' end
local job = redis.call('HMGET', K.job(id), 'status', 'deployment', 'model')
if job[1] ~= 'QUEUED' then return 'not_queued' end
local sent = deployment ~= '' and deployment ~= job[2]
if sent and job[3] ~= ARGV[5] then return 'other_model' end
if sent and depth(deployment) >= tonumber(ARGV[6]) then return 'full' end
local word = level ~= '' and set_level(id, level) or 'unchanged'
if not sent then return word end
move_to_deployment(id, deployment, now_ms())
return 'moved'
