#!lua flags=no-writes
-- read_log: lines of a deployment's log from an id on, filtered by level and request.
-- ARGV  1 deployment   2 'newest' or 'oldest' first   3 the id to begin at, '(' before it for beyond it   4 the last id
--       5 most lines   6 most to look at   7 the least level   8 a request id, its beginning, or ''
-- RETURNS {list of {id, line}, the id to go on beyond, or '' at the end}
local command = ARGV[2] == 'newest' and 'XREVRANGE' or 'XRANGE'
local from, most, left, least, request = ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]

local function wanted(flat)
  if tonumber(flat[2]) < least then return false end
  return request == '' or string.sub(flat[4], 1, #request) == request or flat[6] == request
end

local found, last = {}, ''
while left > 0 do
  local rows = redis.call(command, K.log(ARGV[1]), from, ARGV[4], 'COUNT', math.min(left, 500))
  if #rows == 0 then return {found, ''} end
  left = left - #rows
  for _, row in ipairs(rows) do
    last = row[1]
    if wanted(row[2]) then found[#found + 1] = {row[1], row[2][8]} end
    if #found == most then return {found, last} end
  end
  from = '(' .. last
end
return {found, last}
