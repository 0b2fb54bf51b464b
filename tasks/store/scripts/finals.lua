#!lua flags=allow-oom
-- finals: the jobs of an API key that became final after a place, in that order; a job that is forgotten meanwhile is left out.
-- ARGV  1 api key id   2 score and 3 request_id of the place to go on from, '' = now   4 how many to look at
--       5 how many to return
-- RETURNS {score and request_id of the next place, list of {request_id, score, record as a flat list, output}}
local key, score, last, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
if score == '' then return {whole(now_ms() + S.retention_ms), '', {}} end
local first, found = redis.call('ZCOUNT', K.forget, '-inf', '(' .. score), {}
if tonumber(redis.call('ZSCORE', K.forget, last) or -1) == tonumber(score) then
  first = redis.call('ZRANK', K.forget, last) + 1
end
local rows = redis.call('ZRANGE', K.forget, first, first + tonumber(ARGV[4]) - 1, 'WITHSCORES')
for i = 1, #rows, 2 do
  local id = rows[i]
  last, score = id, rows[i + 1]
  if redis.call('HGET', K.job(id), 'key') == key then
    found[#found + 1] = {id, score, redis.call('HGETALL', K.job(id)), redis.call('GET', K.output(id)) or ''}
    if #found >= most then break end
  end
end
return {score, last, found}
