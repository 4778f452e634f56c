#!lua flags=allow-oom
-- hold_v1: buffer but do not send, for a time (0 ends a hold). Called by any replica.
--
-- KEYS  due, u
-- ARGV  now, user, for_ms
-- Returns ms until the user's next step, or -1

local now = clock(ARGV[1])
local u = load_user(KEYS[2])
redis.call('ZCARD', KEYS[1])
local for_ms = num(ARGV[3])
u.hu = for_ms > 0 and now + for_ms or 0
if u.hu > 0 then
  redis.call('HSET', KEYS[2], 'hu', text(u.hu))
else
  redis.call('HDEL', KEYS[2], 'hu')
end
return remaining(schedule(KEYS[1], KEYS[2], ARGV[2], u, now), now)
