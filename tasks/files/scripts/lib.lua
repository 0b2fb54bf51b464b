-- Steps that several scripts of uploads share.

local function drop_upload(id)
  local kind = redis.call('HGET', K.upload(id), 'kind')
  if kind then redis.call('ZREM', K.uploads(kind), id) end
  redis.call('DEL', K.upload(id), K.upload_pieces(id), K.upload_parts(id))
end
