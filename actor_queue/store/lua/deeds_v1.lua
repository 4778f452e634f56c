#!lua flags=no-writes
-- with prelude_v2
-- deeds_v1: what was done by hand, newest first. Reads only.
--
-- KEYS  by or deeds
-- ARGV  how many at most
-- Returns the lines

return redis.call('LRANGE', KEYS[1], 0, num(ARGV[1]) - 1)
