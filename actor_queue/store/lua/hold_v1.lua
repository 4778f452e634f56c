#!lua flags=allow-oom
-- hold_v1: buffer but do not send, for a time (0 ends a hold). Called by any replica.
--
-- KEYS  lease, due, u
-- ARGV  now, user, caller, channel, shard, for_ms
-- Returns ms until the user's next step, or -1

local now = clock(ARGV[1])
local u = load_user(KEYS[3])
redis.call('ZCARD', KEYS[2])
local for_ms = num(ARGV[6])
u.hu = for_ms > 0 and now + for_ms or 0
if u.hu > 0 then
  redis.call('HSET', KEYS[3], 'hu', text(u.hu))
else
  redis.call('HDEL', KEYS[3], 'hu')
end
local owner = owner_besides(KEYS[1], ARGV[3], now)
return remaining(schedule_and_tell(KEYS[2], KEYS[3], ARGV[2], u, now, owner, ARGV[4], ARGV[5]), now)
