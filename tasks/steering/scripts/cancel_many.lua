#!lua flags=allow-oom
-- cancel_many: the next step of a bulk operation that cancels jobs (QUEUED | IN_PROGRESS -> CANCELED).
-- ARGV  1 name of the operation   2 most matching jobs in this step   3 '1' when running jobs may be cancelled
--       then the filter, as pairs of name and value
-- RETURNS {1 at the end else 0, looked at, matched, done, failed}, as counted since it began
local running_too, now = ARGV[3] == '1', now_ms()
return step(ARGV[1], filter_from(4), tonumber(ARGV[2]), function(id)
  local word = cancel(id, running_too, now)
  return word == 'canceled' or word == 'stopping'
end)
