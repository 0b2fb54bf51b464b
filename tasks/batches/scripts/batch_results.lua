#!lua flags=no-writes
-- batch_results: what became of the jobs of a part.
-- ARGV  the jobs
-- RETURNS for each {status or '', errors, content type, payload, bytes, output if the store has it}
local found = {}
for i, id in ipairs(ARGV) do
  local job = redis.call('HMGET', K.job(id), 'status', 'errors', 'output_type', 'output_ref', 'output_bytes')
  for field = 1, 5 do job[field] = job[field] or '' end
  job[6] = job[4] == '' and kept(id, 'output') or ''
  found[i] = job
end
return found
