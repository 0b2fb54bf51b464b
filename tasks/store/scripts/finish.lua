#!lua flags=allow-oom
-- finish: IN_PROGRESS -> SUCCEEDED | FAILED, only for the lease holder; also writes the webhook's outbox row.
-- ARGV  1 request_id   2 fence   3 status   4 error as JSON or ''   5 run time ms
--       6 output       7 content type of the output ('' = no output)   8 its payload or ''   9 its bytes
-- RETURNS 'done' | 'already_done' | 'stale_fence' | 'missing'
local id, fence, status, error, predict_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local output, output_type, payload, bytes = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local now = now_ms()
local job = redis.call('HMGET', K.job(id), 'status', 'fence', 'rescued', 'deployment', 'errors', 'key')
local word = check_fence(id, job, fence, now)
if word ~= 'held' then return word end
local noted = {'predict_ms', predict_ms}
if output_type ~= '' then
  append(noted, 'output_bytes', bytes)
  if output_type ~= 'application/json' then append(noted, 'output_type', output_type) end
  if payload ~= '' then
    append(noted, 'output_ref', payload)
    redis.call('ZREM', K.garbage, payload) -- adopted
  elseif #output > IN_RECORD then
    redis.call('SET', K.output(id), output)
  else
    append(noted, 'output', output)
  end
end
if status == 'SUCCEEDED' then
  redis.call('LPUSH', K.runtimes(job[4]), predict_ms)
  redis.call('LTRIM', K.runtimes(job[4]), 0, 31)
end
free_slot(id, job[4], job[6])
finalize(id, status, now, with_error(job[5], error), noted, tonumber(predict_ms))
return 'done'
