#!lua flags=allow-oom
-- look: how jobs of a page stand now, as `read` says it of a single one. What is of a deployment is read once.
-- ARGV  1 owner's api key id, '' = any owner   then up to 100 request ids
-- RETURNS {now ms, list of {deployment, run times ms, when up to 64 running jobs started}, list of {request_id, record as a flat list,
-- jobs ahead or -1, webhook status or '', '' | 'paused' | 'key_limit', ms of backoff left}}, without jobs that are missing or of others
local now, found, deployments, seen = now_ms(), {}, {}, {}
local function note(deployment)
  if seen[deployment] then return end
  seen[deployment] = true
  local started = {}
  for _, other in ipairs(redis.call('SRANDMEMBER', K.running(deployment), 64)) do
    started[#started + 1] = redis.call('HGET', K.job(other), 'started')
  end
  deployments[#deployments + 1] = {deployment, redis.call('LRANGE', K.runtimes(deployment), 0, 31), started}
end
for at = 2, math.min(#ARGV, 101) do
  local id = ARGV[at]
  local job = redis.call('HMGET', K.job(id), 'status', 'deployment', 'member', 'webhook', 'score', 'not_before')
  if is_of(ARGV[1], id) then
    local ahead, hold = -1, ''
    if job[1] == 'QUEUED' then ahead, hold = jobs_ahead(job[2], job[3], job[5]), why_held(job[2], job[3]) end
    if job[1] == 'QUEUED' or job[1] == 'IN_PROGRESS' then note(job[2]) end
    local webhook = job[4] and (redis.call('HGET', K.delivery(id), 'status') or 'PENDING') or ''
    found[#found + 1] = {id, redis.call('HGETALL', K.job(id)), ahead, webhook, hold, whole(math.max((job[6] or 0) - now, 0))}
  end
end
return {whole(wall_ms()), deployments, found}
