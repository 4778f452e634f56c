#!lua flags=allow-oom
-- typing_v1: the user is typing: let the open window wait for it, never past its cap. Called by any replica.
-- Ignored when nothing is buffered, or while a batch is in flight (the signal may belong to what is being sent).
--
-- KEYS  due, u
-- ARGV  now, user, ttl_ms or '' for the last message's, longest window_ms where there is no maximum wait
-- Returns 1 when the window was extended, else 0

local now = clock(ARGV[1])
local u = load_user(KEYS[2])
if u.on == 0 or u.fs then
  return 0
end
redis.call('ZCARD', KEYS[1])
local ttl = ARGV[3] == '' and u.ot or num(ARGV[3])
local cap = u.ow > 0 and u.ow or u.of + num(ARGV[4])
-- Never sooner than it was: a typing signal takes no time away.
u.od = math.max(u.od, math.min(math.max(now, u.ol) + ttl, cap))
redis.call('HSET', KEYS[2], 'od', text(u.od))
schedule(KEYS[1], KEYS[2], ARGV[2], u, now)
return 1
