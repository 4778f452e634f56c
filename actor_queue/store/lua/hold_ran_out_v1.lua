#!lua flags=no-writes
-- hold_ran_out_v1: whether a user's last hold has ended by time. One that was released leaves nothing behind.
--
-- KEYS  u
-- ARGV  now
-- Returns 1, or 0 when there was no hold, it was released, or it still lasts

local now = clock(ARGV[1])
local hold = num(redis.call('HGET', KEYS[1], 'hu'))
return hold > 0 and hold <= now and 1 or 0
