#!lua flags=allow-oom
-- upcoming: the next queued jobs that match a filter, of one deployment after the other. Those of a deployment come in the
-- order in which they will be claimed: its queue, then jobs that are held for the limit of their API key, then those that
-- wait out their backoff.
-- ARGV  1 line to go on in, 1 to 3   2 score and 3 member of the place there, '' = its beginning   4 how many to look at at most
--       5 how many to find at most   then the filter, as pairs of name and value, with `deployments`
-- RETURNS {1 at the end else 0, deployment, line, score, member, list of {request_id, record as a flat list}}
local filter, found, line, score, member = filter_from(6), {}, tonumber(ARGV[1]), ARGV[2], ARGV[3]
local to_look_at, wanted = tonumber(ARGV[4]), tonumber(ARGV[5])

local function in_time(id)
  local created = tonumber(redis.call('HGET', K.job(id), 'created'))
  return created >= filter.after and created < filter.before
end

-- Goes along a line until enough was found or looked at. Returns whether the line has ended.
local function go_along(jobs)
  local first = member == '' and 0 or rank_after(jobs, 'ZRANK', score, member)
  local page = redis.call('ZRANGE', jobs, first, first + to_look_at - 1, 'WITHSCORES')
  for i = 1, #page, 2 do
    member, score, to_look_at = page[i], page[i + 1], to_look_at - 1
    local id = id_of(member)
    if match(member, filter) and in_time(id) then found[#found + 1] = {id, redis.call('HGETALL', K.job(id))} end
    if #found >= wanted or to_look_at <= 0 then return false end
  end
  return true
end

for deployment in string.gmatch(filter.deployments, '%S+') do
  local lines = {K.queue(deployment), K.held(deployment), K.delayed(deployment)}
  while line <= #lines do
    if not go_along(lines[line]) then return {0, deployment, line, score, member, found} end
    line, score, member = line + 1, '', ''
  end
  line = 1
end
return {1, '', 1, '', '', found}
