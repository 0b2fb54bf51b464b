#!lua flags=allow-oom
-- close_upload: forgets an upload that is complete, or wrong.
-- ARGV  1 upload
-- RETURNS 'closed'
drop_upload(ARGV[1])
return 'closed'
