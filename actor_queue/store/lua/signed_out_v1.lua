#!lua flags=no-writes
-- with nothing
-- travels with rest
-- signed_out_v1: the sessions that were ended before their time. Reads only. Any replica may call it.
--
-- KEYS  signed_out, see sign_out_v1
-- ARGV  none
-- Returns of each session what tells it from all others, and the Unix second at which it would end

return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
