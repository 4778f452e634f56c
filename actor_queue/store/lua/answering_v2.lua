#!lua flags=allow-oom
-- with prelude_v3
-- travels with rest
-- answering_v2: the receiver has answered 202, and will say when it is done. From now on the attempt's limit is the time
-- that it has for that. Called by whoever made the attempt, with the lease or without it, as ack_v2: that the receiver
-- has the batch stays true whoever reports it.
--
-- KEYS  lease, due, u, f, h
-- ARGV  now, user, batch id, the attempt's token, ms for the answer, history entry where the batch is delivered, caller,
--       channel, shard
-- Returns {'ok', ms until the time is over}
--       | {'known', ms until the next step or -1}   an earlier attempt had delivered the batch: the user's turn is over
--       | {'gone'}
-- Repeatable: the second time the attempt is an answer that is waited for, which is the same answer.
--
-- A receiver that has asked for more time before its 202 was recorded has said sooner that it has the batch. answering_v1
-- left it with what it asked for, though that was less than its 202 gives. Here it has the longer of the two, counted
-- from its first word.

local now = clock(ARGV[1])
local u = load_user(KEYS[3])
if u.fs ~= 'a' or u.fid ~= ARGV[3] or u.fo ~= ARGV[4] then
  return { 'gone' }
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[5])
local known = delivered(u)
if known then
  redis.call('UNLINK', KEYS[4])
  clear_flight(KEYS[3], u)
  remember(KEYS[5], now, ARGV[6])
elseif answering(u) then
  u.fu = math.max(u.fu, u.fws + num(ARGV[5]))
  redis.call('HSET', KEYS[3], 'fu', text(u.fu))
else
  u.fu, u.fw = now + num(ARGV[5]), u.fo
  redis.call('HSET', KEYS[3], 'fu', text(u.fu), 'fw', u.fo, 'fws', text(now))
end
local owner = owner_besides(KEYS[1], ARGV[7], now)
local at = schedule_and_tell(KEYS[2], KEYS[3], ARGV[2], u, now, owner, ARGV[8], ARGV[9])
return { known and 'known' or 'ok', remaining(at, now) }
