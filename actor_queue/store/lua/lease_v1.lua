#!lua flags=no-writes
-- lease_v1: a shard as anybody sees it.
--
-- KEYS  lease, due
-- ARGV  now
-- Returns {owner or '', epoch, since, ms left, users waiting}

local now = clock(ARGV[1])
local lease = redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'since', 'until')
local left = math.max(0, num(lease[4]) - now)
return { left > 0 and lease[1] or '', num(lease[2]), num(lease[3]), left, redis.call('ZCARD', KEYS[2]) }
