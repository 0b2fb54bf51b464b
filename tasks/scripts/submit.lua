-- submit: writes one or more QUEUED jobs of one API key, all or none, and wakes the deployment.
-- ARGV  1 api key id      2 max queued   3 idempotency key or ''  4 body hash   5 idempotency ms
--       6 submissions a minute, 0 = any   7 jobs of the key that may be unfinished, 0 = any
--       then for each job: request_id, deployment, model, level, expires in ms, max attempts, initial delay ms,
--       max delay ms, webhook or '', content type, trace or '', path or '', chain or '',
--       input, payload or ''
-- RETURNS {'accepted', ids} | {'replayed', ids} | {'conflict'} | {'queue_full', depth} | {'key_full', n} | {'throttled', ms}
local api_key, now, fields, first = ARGV[1], now_ms(), 15, 8
local ids = {}
for i = first, #ARGV, fields do ids[#ids + 1] = ARGV[i] end
local joined = table.concat(ids, ' ')
local idempotency = K.idempotency(api_key .. ':' .. ARGV[3])
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
for i = first, #ARGV, fields do
  local id, level = ARGV[i], ARGV[i + 3]
  if redis.call('EXISTS', K.job(id)) == 0 then
    local member = string.format('%013d:%s', redis.call('INCR', K.sequence), id)
    local score = fair_score(deployment, level, api_key)
    local expires, at = whole(now + tonumber(ARGV[i + 4])), whole(wall_ms())
    redis.call('HSET', K.job(id), 'status', 'QUEUED', 'key', api_key, 'deployment', deployment,
      'model', ARGV[i + 2], 'level', level, 'max_attempts', ARGV[i + 5], 'initial_delay_ms', ARGV[i + 6],
      'max_delay_ms', ARGV[i + 7], 'content_type', ARGV[i + 9], 'attempt', 0, 'created', at,
      'status_at', at, 'expires', expires, 'score', score, 'member', member)
    if ARGV[i + 8] ~= '' then redis.call('HSET', K.job(id), 'webhook', ARGV[i + 8]) end
    if ARGV[i + 10] ~= '' then redis.call('HSET', K.job(id), 'trace', ARGV[i + 10]) end
    if ARGV[i + 11] ~= '' then redis.call('HSET', K.job(id), 'path', ARGV[i + 11]) end
    if ARGV[i + 12] ~= '' then redis.call('HSET', K.job(id), 'chain', ARGV[i + 12]) end
    if ARGV[i + 14] == '' then
      redis.call('SET', K.input(id), ARGV[i + 13])
    else
      redis.call('HSET', K.job(id), 'input_ref', ARGV[i + 14])
      redis.call('ZREM', K.garbage, ARGV[i + 14]) -- adopted
    end
    redis.call('HINCRBY', K.unfinished, api_key, 1)
    redis.call('ZADD', K.expiry, expires, id)
    redis.call('ZADD', K.jobs(api_key), at, id)
    enqueue(deployment, member, score)
  end
end
if ARGV[3] ~= '' then redis.call('SET', idempotency, ARGV[4] .. ' ' .. joined, 'PX', ARGV[5]) end
return {'accepted', joined}
