#!lua flags=allow-oom
-- with prelude_v2
-- retry_v3: the attempt failed, the batch waits for its next one. Called by the shard's owner. A batch that an earlier
-- attempt has delivered needs no other attempt: its user's turn ends here. As retry_v2, and an attempt may be taken back:
-- one that failed while its route was open. The next attempt then has the same number, so that the schedule and the
-- number of attempts go on as if this one had not been made.
--
-- KEYS  lease, due, u, h, f
-- ARGV  now, epoch, nonce, user, batch id, the attempt's token, after_ms, history entry, caller, channel, shard,
--       history entry where the batch is delivered, spent: 1, or 0 to take the attempt back
-- Returns {'ok', ms until the next step}
--       | {'known', ms until the next step or -1}   an earlier attempt had delivered the batch
--       | {'gone'} | {'fenced'}
-- Repeatable: the second time the attempt is not under way any more, so it is gone.

local now = clock(ARGV[1])
if estranged(KEYS[1], ARGV[2], ARGV[3], now) then
  return { 'fenced' }
end
local u = load_user(KEYS[3])
if u.fs ~= 'a' or u.fid ~= ARGV[5] or u.fo ~= ARGV[6] then
  return { 'gone' }
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[4])
local known = delivered(u)
if known then
  redis.call('UNLINK', KEYS[5])
  clear_flight(KEYS[3], u)
else
  u.fs, u.fu = 'r', now + num(ARGV[7])
  redis.call('HSET', KEYS[3], 'fs', 'r', 'fu', text(u.fu))
  if ARGV[13] == '0' then
    redis.call('HSET', KEYS[3], 'fa', math.max(0, u.fa - 1))
  end
end
remember(KEYS[4], now, known and ARGV[12] or ARGV[8])
local owner = owner_besides(KEYS[1], ARGV[9], now)
local at = schedule_and_tell(KEYS[2], KEYS[3], ARGV[4], u, now, owner, ARGV[10], ARGV[11])
return { known and 'known' or 'ok', remaining(at, now) }
