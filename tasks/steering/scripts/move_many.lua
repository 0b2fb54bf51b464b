#!lua flags=allow-oom
-- move_many: the next step of a bulk operation that moves QUEUED jobs to another level, to another deployment, or both.
-- ARGV  1 name of the operation   2 most matching jobs in this step   3 level, '' = its own
--       4 deployment, '' = its own   5 how many jobs may wait there   then the filter, as pairs of name and value
-- RETURNS {1 at the end else 0, looked at, matched, done, failed}, as counted since it began
local level, deployment, most_waiting, now = ARGV[3], ARGV[4], tonumber(ARGV[5]), now_ms()
return step(ARGV[1], filter_from(6), tonumber(ARGV[2]), function(id, job)
  if job[1] ~= 'QUEUED' then return false end
  local moved = level ~= '' and set_level(id, level) == 'moved'
  if deployment ~= '' and deployment ~= job[3] and depth(deployment) < most_waiting then
    move_to_deployment(id, deployment, now)
    moved = true
  end
  return moved
end)
