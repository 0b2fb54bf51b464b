#!lua flags=no-writes
-- pulse: numbers that show whether anything has happened. At least one changes when a job is queued, claimed, put back,
-- finished or forgotten, or a webhook is sent.
-- ARGV  none
-- RETURNS a list of numbers
return {
  tonumber(redis.call('GET', K.sequence) or 0), redis.call('ZCARD', K.expiry), redis.call('ZCARD', K.leases),
  tonumber(redis.call('GET', K.ended_count) or 0), redis.call('ZCARD', K.all_jobs), redis.call('ZCARD', K.outbox),
  redis.call('ZCARD', K.exhausted), redis.call('SCARD', K.paused),
}
