-- finish: IN_PROGRESS -> SUCCEEDED | FAILED, only for the lease holder; also writes the webhook's outbox row.
-- ARGV  1 request_id   2 fence   3 status   4 error as JSON or ''   5 run time ms
--       6 output       7 content type of the output ('' = no output)   8 its payload or ''   9 its bytes
-- RETURNS 'done' | 'already_done' | 'stale_fence' | 'missing'
local id, now = ARGV[1], now_ms()
local job = redis.call('HMGET', K.job(id), 'status', 'fence', 'rescued', 'deployment', 'errors')
local word = hold(id, job, ARGV[2], now)
if word ~= 'held' then return word end
redis.call('HSET', K.job(id), 'predict_ms', ARGV[5])
if ARGV[7] ~= '' then
  redis.call('HSET', K.job(id), 'output_type', ARGV[7], 'output_bytes', ARGV[9])
  if ARGV[8] == '' then
    redis.call('SET', K.output(id), ARGV[6])
  else
    redis.call('HSET', K.job(id), 'output_ref', ARGV[8])
    redis.call('ZREM', K.garbage, ARGV[8]) -- adopted
  end
end
if ARGV[3] == 'SUCCEEDED' then
  redis.call('LPUSH', K.runtimes(job[4]), ARGV[5])
  redis.call('LTRIM', K.runtimes(job[4]), 0, 31)
end
free_slot(id, job[4])
finalize(id, ARGV[3], now, with_error(job[5], ARGV[4]))
return 'done'
