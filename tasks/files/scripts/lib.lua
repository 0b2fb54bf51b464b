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
