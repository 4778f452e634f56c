#!lua flags=allow-oom
-- with prelude_v2
-- ack_v2: the batch was delivered. Fenced by the batch's id alone: that it was delivered stays true whoever
-- reports it, and a late report spares the receiver a duplicate. A late report does not end another attempt that is
-- under way: the user's turn ends when that attempt is settled, or at its limit.
--
-- KEYS  lease, due, u, f, h
-- ARGV  now, user, batch id, history entry, caller, channel, shard, the attempt's token
-- Returns {'ok', ms until the next step or -1}
--       | {'known', ms until the next step or -1}   as 'ok', and an earlier attempt had delivered the batch
--       | {'gone'}
-- Repeatable: the second time the batch is gone, or known to be delivered, which is the same answer.

local now = clock(ARGV[1])
local u = load_user(KEYS[3])
if not u.fs or u.fid ~= ARGV[3] then
  return { 'gone' }
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[5])
local known = delivered(u)
if u.fs == 'a' and now < u.fu and u.fo ~= ARGV[8] then
  if known then
    return { 'gone' }
  end
  redis.call('HSET', KEYS[3], 'fk', u.fo)
  remember(KEYS[5], now, ARGV[4])
  return { 'ok', u.fu - now }
end
if u.fs == 'a' and u.fo ~= ARGV[8] then
  remember_silence(KEYS[5], KEYS[3], u)
end
redis.call('UNLINK', KEYS[4])
clear_flight(KEYS[3], u)
remember(KEYS[5], now, ARGV[4])
local owner = owner_besides(KEYS[1], ARGV[5], now)
local at = schedule_and_tell(KEYS[2], KEYS[3], ARGV[2], u, now, owner, ARGV[6], ARGV[7])
return { known and 'known' or 'ok', remaining(at, now) }
