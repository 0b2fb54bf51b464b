-- progress: notes how far a running job is, a chunk of its output, or that chunks stop here; only for the lease holder.
-- ARGV  1 request_id   2 fence   3 'progress' | 'output' | 'truncated'   4 fraction or ''   5 message or chunk
-- RETURNS 'done' | 'already_done' | 'stale_fence' | 'missing'
local id = ARGV[1]
local job = redis.call('HMGET', K.job(id), 'status', 'fence', 'rescued')
local word = hold(id, job, ARGV[2], now_ms())
if word ~= 'held' then return word end
if ARGV[3] == 'progress' then
  redis.call('HSET', K.job(id), 'fraction', ARGV[4], 'message', ARGV[5])
  event(id, 'progress', cjson.encode({fraction = tonumber(ARGV[4]), message = ARGV[5]}))
else
  event(id, ARGV[3], ARGV[5])
end
return 'done'
