#!lua flags=allow-oom
-- release_v1: give a lease back at once instead of letting it run out. The epoch stays: it only grows.
--
-- KEYS  lease
-- ARGV  epoch, nonce
-- Returns 1, or 0 when it is not ours (any more)
-- Who held it last stays known: attempts that were under way may still be settled by it.

local lease = redis.call('HMGET', KEYS[1], 'epoch', 'nonce')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'until', 0, 'nonce', '', 'last_epoch', ARGV[1], 'last_nonce', ARGV[2])
return 1
