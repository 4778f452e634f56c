#!lua flags=allow-oom
-- ack_v1: the batch was delivered. Fenced by the batch's id alone: that it was delivered stays true whoever
-- reports it, and a late report spares the receiver a duplicate.
--
-- KEYS  due, u, f, h
-- ARGV  now, user, batch id, history entry
-- Returns {'ok', ms until the next step or -1} | {'gone'}

local now = clock(ARGV[1])
local u = load_user(KEYS[2])
if not u.fs or u.fid ~= ARGV[3] then
  return { 'gone' }
end
redis.call('ZCARD', KEYS[1])
redis.call('LLEN', KEYS[4])
redis.call('UNLINK', KEYS[3])
clear_flight(KEYS[2], u)
remember(KEYS[4], now, ARGV[4])
return { 'ok', remaining(schedule(KEYS[1], KEYS[2], ARGV[2], u, now), now) }
