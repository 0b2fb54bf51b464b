-- Steps that several scripts share.

-- The oldest time of a line that is still kept, in ms.
local function kept_since()
  return wall_ms() - LOG_MS
end

-- The two numbers of an id.
local function parts(id)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(number)
end

-- The bytes that a line counts for.
local function size_of(line)
  return #line + LINE_BYTES
end
