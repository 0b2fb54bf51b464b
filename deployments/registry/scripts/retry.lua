#!lua flags=allow-oom
-- retry: forgets why a deployment failed; it is loaded again and shows at once whether it loads.
-- ARGV  1 deployment
-- RETURNS 'retried'
forgive(ARGV[1])
changed()
redis.call('HDEL', R.deployment(ARGV[1]), 'served')
edit(ARGV[1])
return 'retried'
