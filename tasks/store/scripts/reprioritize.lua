#!lua flags=allow-oom
-- reprioritize: moves a QUEUED job to another level, behind its own API key's jobs there.
-- ARGV  1 request_id   2 owner's api key id, '' = any owner   3 level
-- RETURNS 'moved' | 'unchanged' | 'not_queued' | 'missing'
local id, owner, level = ARGV[1], ARGV[2], ARGV[3]
if not is_of(owner, id) then return 'missing' end
if redis.call('HGET', K.job(id), 'status') ~= 'QUEUED' then return 'not_queued' end
return set_level(id, level)
