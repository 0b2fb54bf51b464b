#!lua flags=allow-oom
-- keep_output: makes the record of a file of a job's output, for the lease holder. The file goes with the job.
-- ARGV  1 request_id   2 fence   3 id   4 payload   5 bytes   6 ending   7 content type   8 ms until it expires
-- RETURNS 'kept' | 'stale_fence'
local job, now = redis.call('HMGET', K.job(ARGV[1]), 'fence', 'rescued', 'key', 'made'), now_ms()
if not job[3] or (job[1] ~= ARGV[2] and job[2] ~= ARGV[2]) then return 'stale_fence' end
if keep_file(ARGV[3], job[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], whole(now + ARGV[8]), 1) then
  redis.call('HSET', K.job(ARGV[1]), 'made', (job[4] and job[4] .. ' ' or '') .. ARGV[3])
end
return 'kept'
