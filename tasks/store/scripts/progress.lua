#!lua flags=allow-oom
-- progress: notes how far a running job is, a chunk of its output, or that chunks stop here; only for the lease holder.
-- ARGV  1 request_id   2 fence   3 'progress' | 'output' | 'truncated'   4 fraction or ''   5 message or chunk
-- RETURNS 'done' | 'already_done' | 'stale_fence' | 'missing'
local id, fence, kind, fraction, text = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local job = redis.call('HMGET', K.job(id), 'status', 'fence', 'rescued')
local word = check_fence(id, job, fence, now_ms())
if word ~= 'held' then return word end
if kind == 'progress' then
  redis.call('HSET', K.job(id), 'fraction', fraction, 'message', text)
  text = cjson.encode({fraction = tonumber(fraction), message = text})
end
-- Change n has the id 2n-0 among the events of a job, and the chunks after it have 2n+1-0, 2n+1-1, ...
local after = whole(2 * changes_so_far(id) + 1) .. '-*'
local function add() return redis.pcall('XADD', K.events(id), 'MAXLEN', '~', 10000, after, 'kind', kind, 'data', text) end
if type(add()) == 'table' then -- an earlier version began this stream, with the time in its ids
  redis.call('DEL', K.events(id))
  add()
end
tell(id, kind)
return 'done'
