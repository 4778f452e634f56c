#!lua flags=allow-oom
-- with nothing
-- travels with rest
-- leave_v2: say that a replica goes, so that nobody counts on it. As leave_v1, which it may run beside.
--
-- KEYS  members, modes
-- ARGV  replica, what it said of its modes
-- Returns 1, or 0 when it was not there

redis.call('ZCARD', KEYS[2])
local was = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[2])
return was
