#!lua flags=allow-oom
-- batch_stop: cancels the jobs of a part, those that run too.
-- ARGV  the jobs
-- RETURNS how many were cancelled
local now, stopped = now_ms(), 0
for _, id in ipairs(ARGV) do
  if redis.call('EXISTS', K.job(id)) == 1 then
    local word = cancel(id, true, now)
    if word == 'canceled' or word == 'stopping' then stopped = stopped + 1 end
  end
end
return stopped
