#!lua
-- submit: writes one or more QUEUED jobs of one API key, all or none, and wakes the deployment. Work that they share is done once.
-- ARGV  1 api key id      2 max queued   3 idempotency key or ''  4 body hash   5 idempotency ms
--       6 submissions a minute, 0 = no limit   7 jobs of the key that may be unfinished, 0 = no limit   8 api key id that the rate counts for
--       then for each job: request_id, deployment, model, level, expires in ms, max attempts, initial delay ms, max delay ms ('' = the defaults),
--       webhook or '', content type or '', trace or '', path or '', chain or '', input, payload or '', job that is run anew or '', files or '', '1' for output files
-- RETURNS {'accepted', ids} | {'replayed', ids} | {'conflict'} | {'queue_full', depth} | {'key_full', n} | {'throttled', ms} | {'no_file', id}
local api_key, max_queued, idempotency_key, body_hash, idempotency_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local per_minute, max_unfinished, FIRST, FIELDS = ARGV[6], tonumber(ARGV[7]), 9, 18
local DEPLOYMENT, MODEL, LEVEL, EXPIRES, ATTEMPTS, DELAY, MAX_DELAY, TYPE, INPUT, PAYLOAD, RETRY_OF, FILES = 1, 2, 3, 4, 5, 6, 7, 9, 13, 14, 15, 16
local OPTIONAL = {max_attempts = ATTEMPTS, initial_delay_ms = DELAY, max_delay_ms = MAX_DELAY, content_type = TYPE, webhook = 8, trace = 10, path = 11, chain = 12, input_ref = PAYLOAD, retry_of = RETRY_OF, files = FILES, output_files = 17}
local now, ids = now_ms(), {}
for i = FIRST, #ARGV, FIELDS do ids[#ids + 1] = ARGV[i] end
local joined, idempotency = table.concat(ids, ' '), K.idempotency(api_key .. ':' .. idempotency_key)
if idempotency_key ~= '' then
  local seen = redis.call('GET', idempotency)
  if seen then
    local hash, earlier = string.match(seen, '^(%S*) (.*)$')
    if hash ~= body_hash then return {'conflict'} end
    return {earlier == joined and 'accepted' or 'replayed', earlier}
  end
end
local deployment = ARGV[FIRST + DEPLOYMENT]
local waiting, unfinished = depth(deployment), tonumber(redis.call('HGET', K.unfinished, api_key) or 0)
if waiting + #ids > max_queued then return {'queue_full', waiting} end
if max_unfinished ~= 0 and unfinished + #ids > max_unfinished then return {'key_full', unfinished} end
local missing = missing_file(api_key, FIRST, FIELDS, FILES, RETRY_OF, now); if missing then return {'no_file', missing} end
local wait = throttle('submit', ARGV[8], per_minute, #ids, now)
if wait > 0 then return {'throttled', wait} end
local at, last = whole(wall_ms()), redis.call('INCRBY', K.sequence, #ids)
local queued, expiries, made, counts, scores = {}, {}, {}, {}, {}
for n, id in ipairs(ids) do
  local level = ARGV[FIRST + (n - 1) * FIELDS + LEVEL]
  if redis.call('EXISTS', K.job(id)) == 1 then ids[n] = false else counts[level] = (counts[level] or 0) + 1 end
end
if not next(counts) then return {'accepted', joined} end -- all of them came before
for level, count in pairs(counts) do scores[level] = fair_score(deployment, level, api_key, count) end
for n, id in ipairs(ids) do
  if id then
    local i = FIRST + (n - 1) * FIELDS
    local level, member = ARGV[i + LEVEL], member_of(last - #ids + n, id)
    local score, expires = whole(scores[level]), whole(now + tonumber(ARGV[i + EXPIRES]))
    local job = {'status', 'QUEUED', 'key', api_key, 'deployment', deployment, 'model', ARGV[i + MODEL],
      'level', level, 'attempt', 0, 'created', at, 'status_at', at, 'expires', expires, 'score', score, 'member', member}
    for field, place in pairs(OPTIONAL) do
      if ARGV[i + place] ~= '' then append(job, field, ARGV[i + place]) end
    end
    if ARGV[i + PAYLOAD] == '' and #ARGV[i + INPUT] <= IN_RECORD then append(job, 'input', ARGV[i + INPUT]) end
    if ARGV[i + EXPIRES] ~= '600000' then append(job, 'queue_ms', ARGV[i + EXPIRES]) end -- else the default
    redis.call('HSET', K.job(id), unpack(job))
    attach(id, ARGV[i + PAYLOAD], ARGV[i + INPUT], ARGV[i + FILES], ARGV[i + RETRY_OF])
    append(queued, score, member); append(expiries, expires, id); append(made, at, member)
    scores[level] = scores[level] + 1
  end
end
add_all(K.expiry, expiries); add_all(K.jobs(api_key), made); add_all(K.all_jobs, made)
redis.call('HINCRBY', K.unfinished, api_key, #queued / 2)
enqueue_all(deployment, queued)
count_submissions(deployment, counts)
if idempotency_key ~= '' then redis.call('SET', idempotency, body_hash .. ' ' .. joined, 'PX', idempotency_ms) end
return {'accepted', joined}
