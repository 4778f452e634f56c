#!lua flags=no-writes
-- sizes_v1: how much a shard holds. Reads only.
--
-- KEYS  due, dead
-- ARGV  now, within_ms
-- Returns {users waiting, those of them who are due within within_ms, dead letters}

local soon = text(clock(ARGV[1]) + num(ARGV[2]))
return { redis.call('ZCARD', KEYS[1]), redis.call('ZCOUNT', KEYS[1], '-inf', soon), redis.call('ZCARD', KEYS[2]) }
