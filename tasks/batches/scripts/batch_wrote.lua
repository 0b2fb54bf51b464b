#!lua flags=allow-oom
-- batch_wrote: the results of a part are written. Its lines count, once, and its jobs go. A part of a batch that ends early may
-- be written although its lines never became jobs; it is the next one then.
-- ARGV  1 batch   2 fence   3 number of the part   4 lines that succeeded   5 that failed   6 those of them that the batch's
--       end kept from running   7 bytes of results   8 bytes of errors
--       then the jobs
-- RETURNS 'done' | 'stale'
local id, number, now = ARGV[1], ARGV[3], now_ms()
if not has_turn(id, ARGV[2]) then return 'stale' end
local sent = redis.call('SREM', K.batch_parts(id), number) == 1
if not sent then
  if redis.call('HGET', K.batch(id), 'next') ~= number then return 'done' end -- it was counted before
  redis.call('HINCRBY', K.batch(id), 'next', 1)
end
redis.call('HINCRBY', K.batch(id), 'completed', ARGV[4])
redis.call('HINCRBY', K.batch(id), 'failed', ARGV[5])
redis.call('HINCRBY', K.batch(id), 'cut_off', ARGV[6])
redis.call('HSET', K.batch_sizes(id), number, ARGV[7] .. ' ' .. ARGV[8])
for i = 9, #ARGV do let_go(ARGV[i], now) end
return 'done'
