#!lua flags=allow-oom
-- follow: queued jobs of one deployment move to another, in their order; a sweep wakes it. Those that the limit of their API
-- key holds back go into its queue: the limit is one for each deployment.
-- ARGV  1 from   2 to   3 how many at most
-- RETURNS how many moved
local from, to, moved = ARGV[1], ARGV[2], 0
-- Virtual time moves with them. Otherwise all later arrivals at the new deployment would come first.
for _, key in ipairs({K.vtime, K.flows}) do
  local here = redis.call('HGETALL', key(from))
  for i = 1, #here, 2 do
    if tonumber(here[i + 1]) > tonumber(redis.call('HGET', key(to), here[i]) or 0) then
      redis.call('HSET', key(to), here[i], here[i + 1])
    end
  end
end
local function move(place, target, and_then)
  if moved == tonumber(ARGV[3]) then return end
  for _, member in ipairs(redis.call('ZRANGE', place(from), 0, tonumber(ARGV[3]) - moved - 1)) do
    redis.call('ZADD', target(to), redis.call('ZSCORE', place(from), member), member)
    redis.call('ZREM', place(from), member)
    local id = string.sub(member, 15)
    if and_then then and_then(id, member) end
    redis.call('HSET', K.job(id), 'deployment', to)
    moved = moved + 1
  end
end
move(K.queue, K.queue)
move(K.delayed, K.delayed)
move(K.held, K.queue, function(id, member)
  redis.call('ZREM', K.held_by(from .. ':' .. (redis.call('HGET', K.job(id), 'key') or '')), member)
end)
if moved > 0 then redis.call('SADD', K.backlog, to) end
local first = redis.call('ZRANGE', K.delayed(to), 0, 0, 'WITHSCORES')
if first[2] then redis.call('ZADD', K.retries, 'LT', first[2], to) end
return moved
