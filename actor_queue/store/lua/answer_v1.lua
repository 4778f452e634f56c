#!lua flags=no-writes
-- with prelude_v3
-- answer_v1: how it stands with a batch whose receiver answered 202. Reads only. Called by any replica.
--
-- KEYS  u, p, s
-- ARGV  now, batch id, the attempt's token, until when the address is good
-- Returns {'answering', newer messages, until, attempt, messages of the batch}
--       | {'done'|'taken_back'|'failed', newer messages then}   what was answered
--       | {'over'}

local now = clock(ARGV[1])
local u = load_user(KEYS[1])
local state, what, newer = answer_state(KEYS[1], u, ARGV[2], ARGV[3], ARGV[4], now)
if state == 'open' then
  return { 'answering', newer_messages(KEYS[1], KEYS[2], KEYS[3], u), u.fu, u.fa, num(redis.call('HGET', KEYS[1], 'fn')) }
elseif state == 'again' then
  return { what, newer }
end
return { 'over' }
