-- Steps that several scripts of uploads share.

local function drop_upload(id)
  local kind = redis.call('HGET', K.upload(id), 'kind')
  if kind then redis.call('ZREM', K.uploads(kind), id) end
  redis.call('DEL', K.upload(id), K.upload_pieces(id), K.upload_parts(id))
end

-- The record of a file, which adopts its payload. False if there is one already.
local function keep_file(id, api_key, ref, size, ending, content_type, expires, uses)
  if redis.call('EXISTS', K.file(id)) == 1 then return false end
  redis.call('HSET', K.file(id), 'key', api_key, 'ref', ref, 'size', size, 'ending', ending, 'type', content_type,
    'expires', expires, 'uses', uses)
  redis.call('ZREM', K.garbage, ref)
  redis.call('HINCRBY', K.files_of(api_key), 'bytes', size)
  redis.call('HINCRBY', K.files_of(api_key), 'count', 1)
  return true
end

-- The limit that `more` bytes for a transfer of that owner would exceed: 'key' or 'all'; nil if there is room.
local function no_room(owner, more, most_of_key, most_of_all)
  local of_key, bytes = more, more
  for _, id in ipairs(redis.call('ZRANGE', K.uploads('package'), 0, -1)) do
    local other = redis.call('HMGET', K.upload(id), 'api_key', 'owner', 'size')
    local size = tonumber(other[3] or 0)
    bytes = bytes + size
    if (other[1] or other[2]) == owner then of_key = of_key + size end
  end
  if of_key > tonumber(most_of_key) then return 'key' end
  if bytes > tonumber(most_of_all) then return 'all' end
end

-- The API key of a transfer; nil if there is none, or if it has ended.
local function owner_of_open(transfer)
  local known = redis.call('HMGET', K.upload(transfer), 'owner', 'content_hash', 'refused')
  return not known[2] and not known[3] and known[1] or nil
end

-- Makes a file one of those that its API key lists at /v1/files.
local function list_file(id, api_key, name, purpose, lasts_ms)
  local at = wall_ms()
  redis.call('HSET', K.file(id), 'name', name, 'purpose', purpose, 'created', whole(at), 'until', whole(at + lasts_ms))
  redis.call('ZADD', K.listed_files(api_key), whole(at), id)
end

-- A listed file as {id, payload, bytes, name, purpose, created ms, ms when it expires}; nil if it is no such file, or has expired.
local function listed_file(id, now)
  local file = redis.call('HMGET', K.file(id), 'ref', 'size', 'name', 'purpose', 'created', 'until', 'expires')
  if not file[4] or tonumber(file[7]) <= now then return nil end
  return {id, file[1], file[2], file[3], file[4], file[5], file[6]}
end
