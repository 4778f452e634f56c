#!lua flags=no-writes
-- dead_old_v1: a page of a shard's dead letters that are older than they may be, oldest first. Reads only.
--
-- KEYS  dead
-- ARGV  now, retention_ms, how many to pass over, limit
-- Returns a list of their ids

local edge = text(clock(ARGV[1]) - num(ARGV[2]))
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', edge, 'LIMIT', ARGV[3], ARGV[4])
