#!lua flags=allow-oom
-- with prelude_v3
-- extend_v1: the receiver needs longer. It never gets less than it had, and in all no more than the most. Called by any
-- replica.
--
-- KEYS  due, u, p, s
-- ARGV  now, user, batch id, the attempt's token, until when the address is good, ms from now, ms in all since the 202
-- Returns {'answering', newer messages, until} | {'done'|'taken_back'|'failed', newer messages then} | {'over'}
-- No owner has to be told: its timer wakes at the former time, and finds that it is too early.

local now = clock(ARGV[1])
local u = load_user(KEYS[2])
local state, what, newer = answer_state(KEYS[2], u, ARGV[3], ARGV[4], ARGV[5], now)
if state ~= 'open' then
  return state == 'again' and { what, newer } or { 'over' }
end
newer = newer_messages(KEYS[2], KEYS[3], KEYS[4], u)
redis.call('ZCARD', KEYS[1])
if not answering(u) then
  -- Whoever asks for more time has the batch, and says so sooner than its 202 does.
  u.fw, u.fws = u.fo, now
  redis.call('HSET', KEYS[2], 'fw', u.fw, 'fws', text(now))
end
u.fu = math.max(u.fu, math.min(now + num(ARGV[6]), u.fws + num(ARGV[7])))
redis.call('HSET', KEYS[2], 'fu', text(u.fu))
schedule(KEYS[1], KEYS[2], ARGV[2], u, now)
return { 'answering', newer, u.fu }
