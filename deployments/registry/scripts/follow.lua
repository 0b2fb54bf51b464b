#!lua
-- follow: queued jobs of one deployment move to another, in their order; a sweep wakes it.
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
local function move(place)
  for _, member in ipairs(redis.call('ZRANGE', place(from), 0, tonumber(ARGV[3]) - moved - 1)) do
    redis.call('ZADD', place(to), redis.call('ZSCORE', place(from), member), member)
    redis.call('ZREM', place(from), member)
    redis.call('HSET', K.job(string.sub(member, 15)), 'deployment', to)
    moved = moved + 1
  end
end
move(K.queue)
if moved < tonumber(ARGV[3]) then move(K.delayed) end
if moved > 0 then redis.call('SADD', K.backlog, to) end
return moved
