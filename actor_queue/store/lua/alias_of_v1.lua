#!lua
-- with nothing
-- alias_of_v1: note with a conversation that an alias leads to it, so that erasing the conversation finds the link, which
-- lies with the alias in another slot. Called by any replica before alias_v1 writes the link.
--
-- KEYS  of, the target's
-- ARGV  now, alias, ms it is kept, how many aliases a conversation may have
-- Returns 1, or 0 when it has as many already

local now, keep_ms = tonumber(ARGV[1]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- A day more than the link, which may be kept some minutes longer than it has to be.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - keep_ms - 86400000)
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('PEXPIRE', KEYS[1], keep_ms + 86400000)
return 1
