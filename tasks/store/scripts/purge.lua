#!lua flags=allow-oom
-- purge: drops a job with its input, its output and all else, before its retention is over. One that is not final is cancelled.
-- ARGV  1 request_id   2 owner's api key id, '' = any owner
-- RETURNS 'purged' | 'stopping' (goes when its call has ended) | 'missing'
local id, owner = ARGV[1], ARGV[2]
if not is_of(owner, id) then return 'missing' end
return purge(id, now_ms())
