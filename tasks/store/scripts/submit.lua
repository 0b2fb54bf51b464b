-- submit: writes one or more QUEUED jobs of one API key, all or none, and wakes the deployment. What they share is done once.
-- ARGV  1 api key id      2 max queued   3 idempotency key or ''  4 body hash   5 idempotency ms
--       6 submissions a minute, 0 = any   7 jobs of the key that may be unfinished, 0 = any
--       then for each job: request_id, deployment, model, level, expires in ms, max attempts, initial delay ms,
--       max delay ms, webhook or '', content type, trace or '', path or '', chain or '',
--       input, payload or ''
-- RETURNS {'accepted', ids} | {'replayed', ids} | {'conflict'} | {'queue_full', depth} | {'key_full', n} | {'throttled', ms}
local api_key, now, fields, first = ARGV[1], now_ms(), 15, 8
local ids = {}
for i = first, #ARGV, fields do ids[#ids + 1] = ARGV[i] end
local joined, idempotency = table.concat(ids, ' '), K.idempotency(api_key .. ':' .. ARGV[3])
if ARGV[3] ~= '' then
  local seen = redis.call('GET', idempotency)
  if seen then
    local hash, earlier = string.match(seen, '^(%S*) (.*)$')
    if hash ~= ARGV[4] then return {'conflict'} end
    return {earlier == joined and 'accepted' or 'replayed', earlier}
  end
end
local deployment = ARGV[first + 1]
local waiting, unfinished = depth(deployment), tonumber(redis.call('HGET', K.unfinished, api_key) or 0)
if waiting + #ids > tonumber(ARGV[2]) then return {'queue_full', waiting} end
if ARGV[7] ~= '0' and unfinished + #ids > tonumber(ARGV[7]) then return {'key_full', unfinished} end
local wait = throttle('submit', api_key, ARGV[6], #ids, now)
if wait > 0 then return {'throttled', wait} end
local at, last = whole(wall_ms()), redis.call('INCRBY', K.sequence, #ids)
local queued, expiries, made, counts, scores = {}, {}, {}, {}, {}
local optional = {webhook = 8, trace = 10, path = 11, chain = 12, input_ref = 14}
for n, id in ipairs(ids) do
  local level = ARGV[first + (n - 1) * fields + 3]
  if redis.call('EXISTS', K.job(id)) == 1 then ids[n] = false else counts[level] = (counts[level] or 0) + 1 end
end
if not next(counts) then return {'accepted', joined} end -- all of them came before
for level, count in pairs(counts) do scores[level] = fair_score(deployment, level, api_key, count) end
for n, id in ipairs(ids) do
  if id then
    local i = first + (n - 1) * fields
    local level, member = ARGV[i + 3], string.format('%013d:%s', last - #ids + n, id)
    local score, expires = whole(scores[level]), whole(now + tonumber(ARGV[i + 4]))
    scores[level] = scores[level] + 1
    local job = {'status', 'QUEUED', 'key', api_key, 'deployment', deployment,
      'model', ARGV[i + 2], 'level', level, 'max_attempts', ARGV[i + 5], 'initial_delay_ms', ARGV[i + 6],
      'max_delay_ms', ARGV[i + 7], 'content_type', ARGV[i + 9], 'attempt', 0, 'created', at,
      'status_at', at, 'expires', expires, 'score', score, 'member', member}
    for field, place in pairs(optional) do
      if ARGV[i + place] ~= '' then append(job, field, ARGV[i + place]) end
    end
    redis.call('HSET', K.job(id), unpack(job))
    if ARGV[i + 14] == '' then redis.call('SET', K.input(id), ARGV[i + 13])
    else redis.call('ZREM', K.garbage, ARGV[i + 14]) end -- adopted
    append(queued, score, member)
    append(expiries, expires, id); append(made, at, id)
  end
end
add_all(K.expiry, expiries)
add_all(K.jobs(api_key), made)
redis.call('HINCRBY', K.unfinished, api_key, #queued / 2)
enqueue_all(deployment, queued)
if ARGV[3] ~= '' then redis.call('SET', idempotency, ARGV[4] .. ' ' .. joined, 'PX', ARGV[5]) end
return {'accepted', joined}
