#!lua flags=allow-oom
-- finals: the jobs of an API key that became final after a place, in that order; a job that is forgotten meanwhile is left out.
-- ARGV  1 api key id   2 score and 3 request_id of the place to go on from, '' = now   4 how many to look at
--       5 how many to return
-- RETURNS {score and request_id of the next place, list of {request_id, score, record as a flat list, output}}
local key, score, last, looked_at, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if score == '' then return {whole(now_ms() + S.retention_ms), '', {}} end
local after, rows = tonumber(score), {}

local function before(row, other)
  if row.score == other.score then return row.id < other.id end
  return row.score < other.score
end

-- Notes what of an index comes after the place.
local function look_at(index)
  local first = redis.call('ZCOUNT', index, '-inf', '(' .. score)
  local page = redis.call('ZRANGE', index, first, first + looked_at - 1, 'WITHSCORES')
  for i = 1, #page, 2 do
    local row = {id = page[i], score = tonumber(page[i + 1])}
    if row.score > after or row.id > last then rows[#rows + 1] = row end
  end
end

look_at(K.forget) -- those of an earlier version, and those that are kept for longer
local earlier = redis.call('ZCOUNT', K.ended_buckets, '-inf', '(' .. score)
local first = math.max(earlier - 2, 0) -- sets that begin before the place may end after it
for _, bucket in ipairs(redis.call('ZRANGE', K.ended_buckets, first, first + math.ceil(looked_at / IN_BUCKET) + 1)) do
  look_at(K.ended(bucket))
end
table.sort(rows, before)
local found = {}
for n = 1, math.min(looked_at, #rows) do
  last, score = rows[n].id, whole(rows[n].score)
  local job = redis.call('HMGET', K.job(last), 'key', 'purged')
  if job[1] == key and not job[2] then
    local record = redis.call('HGETALL', K.job(last))
    found[#found + 1] = {last, score, record, kept_beside(record, last, 'output')}
    if #found >= most then break end
  end
end
return {score, last, found}
