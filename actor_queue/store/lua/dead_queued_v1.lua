#!lua flags=no-writes
-- dead_queued_v1: whether a replay of a dead letter is queued in its user's line. Reads only.
--
-- KEYS  s
-- ARGV  id
-- Returns 1 | 0

return redis.call('LPOS', KEYS[1], 'R' .. ARGV[1]) and 1 or 0
