#!lua flags=allow-oom
-- dead_drop_v1: delete a dead letter.
--
-- KEYS  dead, d, di
-- ARGV  id
-- Returns 1, or 0 when there is none

redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('UNLINK', KEYS[3])
return redis.call('UNLINK', KEYS[2])
