#!lua flags=no-writes
-- read_audit: entries of the audit log, newest first, filtered by actor, and by an action or its kind (`key` of `key.create`).
-- ARGV  1 the id to begin at, '(' before it for below it   2 oldest ms   3 most entries   4 most to look at   5 actor or ''   6 action or ''
-- RETURNS {list of {id, fields}, the id to go on below, or '' at the end}
local from, most, left, actor, action = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local oldest = whole(math.max(ARGV[2], kept_since()))

local function wanted(flat)
  local entry = {}
  for i = 1, #flat, 2 do entry[flat[i]] = flat[i + 1] end
  local of_kind = string.sub(entry.action, 1, #action + 1) == action .. '.'
  return (actor == '' or entry.actor == actor) and (action == '' or of_kind or entry.action == action)
end

local found, last = {}, ''
while left > 0 do
  local rows = redis.call('XREVRANGE', K.audit, from, oldest, 'COUNT', math.min(left, 500))
  if #rows == 0 then return {found, ''} end
  left = left - #rows
  for _, row in ipairs(rows) do
    last = row[1]
    if wanted(row[2]) then found[#found + 1] = row end
    if #found == most then return {found, last} end
  end
  from = '(' .. last
end
return {found, last}
