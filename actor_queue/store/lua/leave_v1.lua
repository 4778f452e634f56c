#!lua flags=allow-oom
-- leave_v1: a replica says goodbye.
--
-- KEYS  members
-- ARGV  replica
-- Returns 1, or 0 when it was not there

return redis.call('ZREM', KEYS[1], ARGV[1])
