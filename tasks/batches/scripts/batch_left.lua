#!lua flags=no-writes
-- batch_left: how the jobs of a part stand.
-- ARGV  the jobs
-- RETURNS for each 'missing' | 'left' | 'final'
local words = {}
for i, id in ipairs(ARGV) do
  local status = redis.call('HGET', K.job(id), 'status')
  words[i] = not status and 'missing' or (status == 'QUEUED' or status == 'IN_PROGRESS') and 'left' or 'final'
end
return words
