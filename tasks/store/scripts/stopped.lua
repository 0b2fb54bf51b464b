#!lua flags=allow-oom
-- stopped: the model call of a cancelled job has ended: frees its slot and says when and how.
-- ARGV  1 request_id   2 fence that it ran under   3 'cooperative' | 'closed' | 'killed'
-- RETURNS 'done' | 'stale_fence' | 'missing'
local id, fence, by = ARGV[1], ARGV[2], ARGV[3]
local job = fields(id, 'stopping', 'deployment', 'key')
if not job[2] then return 'missing' end
if not job[1] or job[1] ~= fence then return 'stale_fence' end
redis.call('HSET', K.job(id), 'stopped_at', whole(wall_ms()), 'stopped_by', by)
redis.call('HDEL', K.job(id), 'stopping')
free_slot(id, job[2], job[3])
pack(id)
tell(id, 'stopped')
return 'done'
