#!lua flags=no-writes
-- with prelude_v2
-- remembered_v1: whether a user's message of this id was accepted lately. Reads only.
--
-- KEYS  id
-- ARGV  none
-- Returns 1 or 0

return redis.call('EXISTS', KEYS[1])
