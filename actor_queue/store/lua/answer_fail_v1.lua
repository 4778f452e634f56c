#!lua flags=allow-oom
-- with prelude_v3
-- answer_fail_v1: the receiver, which had answered 202, says that it failed. The batch waits for its next attempt, or
-- becomes a dead letter. A batch that an earlier attempt has delivered needs neither: its user's turn ends here. Called
-- by any replica.
--
-- KEYS  lease, due, u, p, s, f, h, dead, d, di
-- ARGV  now, user, batch id, the attempt's token, until when the address is good, ms until the next attempt or '' for
--       none, why, history entry, caller, channel, shard, history entry where the batch is delivered, what is known of
--       the attempt as JSON
-- Returns {'failed', newer messages, ms until the next step or -1, 1 if an earlier attempt had delivered the batch}
--       | {'again', 'done'|'taken_back'|'failed', newer messages then} | {'over'}
-- Repeatable: what was answered last is kept with the user.

local now, user_key = clock(ARGV[1]), KEYS[3]
local u = load_user(user_key)
local state, what, newer = answer_state(user_key, u, ARGV[3], ARGV[4], ARGV[5], now)
if state ~= 'open' then
  return state == 'again' and { 'again', what, newer } or { 'over' }
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[7])
redis.call('ZCARD', KEYS[8])
newer = newer_messages(user_key, KEYS[4], KEYS[5], u)
assert(redis.call('LLEN', KEYS[6]) > 0, 'a batch in flight without messages')
local known, bury = delivered(u), ARGV[6] == ''
keep_answer(user_key, u, 'failed', newer)
if known then
  redis.call('UNLINK', KEYS[6])
elseif bury then
  local f = redis.call('HMGET', user_key, 'fseq', 'fn', 'fr', 'fm', 'ff', 'fl', 'fd', 'fc')
  redis.call('RENAME', KEYS[6], KEYS[10])
  redis.call('HSET', KEYS[9], 'user', ARGV[2], 'why', ARGV[7], 'at', text(now), 'fa', u.fa, 'fseq', f[1], 'fn', f[2],
    'fr', f[3], 'fm', f[4], 'ff', f[5], 'fl', f[6], 'fd', f[7], 'fc', f[8], 'more', ARGV[13])
  redis.call('ZADD', KEYS[8], text(now), ARGV[3])
end
if known or bury then
  clear_flight(user_key, u)
else
  u.fs, u.fu = 'r', now + num(ARGV[6])
  redis.call('HSET', user_key, 'fs', 'r', 'fu', text(u.fu))
end
remember(KEYS[7], now, known and ARGV[12] or ARGV[8])
local owner = owner_besides(KEYS[1], ARGV[9], now)
local at = schedule_and_tell(KEYS[2], user_key, ARGV[2], u, now, owner, ARGV[10], ARGV[11])
return { 'failed', newer, remaining(at, now), known and 1 or 0 }
