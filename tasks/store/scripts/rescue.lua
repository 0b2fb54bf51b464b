#!lua flags=allow-oom
-- rescue: IN_PROGRESS -> QUEUED for jobs whose lease ran out: their worker is dead, frozen or cut off. Nothing is
-- charged yet: a worker that is back before another one claims the job goes on with it.
-- ARGV  1 how many at most
-- RETURNS {ids of jobs that are queued again, ids of cancelled jobs whose call is taken for ended}
local now, rescued, stopped = now_ms(), {}, {}
if redis.call('EXISTS', K.grace) == 1 then return {rescued, stopped} end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.leases, '-inf', whole(now), 'LIMIT', 0, ARGV[1])) do
  local job = fields(id, 'status', 'stopping', 'deployment', 'fence', 'attempt', 'key')
  if job[1] == 'IN_PROGRESS' then
    redis.call('HSET', K.job(id), 'rescued', job[4])
    free_slot(id, job[3], job[6])
    if is_counted(job[3]) then count(job[3], 'again:rescue', 1) end
    requeue(id, now, 0, job[5])
    table.insert(rescued, id)
  else
    if job[2] then
      redis.call('HSET', K.job(id), 'stopped_at', whole(wall_ms()), 'stopped_by', 'killed')
      redis.call('HDEL', K.job(id), 'stopping')
      table.insert(stopped, id)
    end
    if job[3] then free_slot(id, job[3], job[6]) else redis.call('ZREM', K.leases, id) end
    pack(id)
  end
end
return {rescued, stopped}
