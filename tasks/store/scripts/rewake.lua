#!lua flags=allow-oom
-- rewake: sends lost wake-ups again, for deployments that have queued jobs and no wake-up. Attempts whose backoff is over
-- go back into the queue.
-- ARGV  1 cursor over the deployments with a backlog   2 how many deployments, about; also jobs moved for each
-- RETURNS {next cursor, wake-ups sent, attempts moved}
local cursor, count = ARGV[1], ARGV[2]
local now, sent, moved = now_ms(), 0, 0
local page = redis.call('SSCAN', K.backlog, cursor, 'COUNT', count)
for _, deployment in ipairs(page[2]) do
  moved = moved + end_backoffs(deployment, now, count)
  for _, member in ipairs(redis.call('ZRANDMEMBER', K.held(deployment), 10)) do
    unhold(deployment, member) -- the limit of its API key may have changed; if not, a claim holds it back again
  end
  local queued = redis.call('ZCARD', K.queue(deployment))
  local paused = redis.call('SISMEMBER', K.paused, deployment) == 1
  if queued > 0 and not paused and redis.call('LLEN', K.wakeups(deployment)) == 0 then
    sent = sent + wake(deployment, queued)
  elseif depth(deployment) == 0 then
    redis.call('SREM', K.backlog, deployment)
  end
end
return {page[1], sent, moved}
