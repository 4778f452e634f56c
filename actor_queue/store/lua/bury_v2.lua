#!lua flags=allow-oom
-- with prelude_v2
-- bury_v2: no more attempts; the batch becomes a dead letter with everything a replay needs. Called by the
-- shard's owner. A batch that an earlier attempt has delivered is no dead letter: its user's turn ends here.
--
-- KEYS  lease, due, u, f, h, dead, d, di
-- ARGV  now, epoch, nonce, user, batch id, the attempt's token, why, history entry, caller, channel, shard,
--       history entry where the batch is delivered, what is known of the last attempt as JSON
-- Returns {'ok', ms until the next step or -1}
--       | {'known', ms until the next step or -1}   an earlier attempt had delivered the batch
--       | {'gone'} | {'fenced'}

local now = clock(ARGV[1])
if estranged(KEYS[1], ARGV[2], ARGV[3], now) then
  return { 'fenced' }
end
local u = load_user(KEYS[3])
if u.fs ~= 'a' or u.fid ~= ARGV[5] or u.fo ~= ARGV[6] then
  return { 'gone' }
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[5])
redis.call('ZCARD', KEYS[6])
assert(redis.call('LLEN', KEYS[4]) > 0, 'a batch in flight without messages')
local known = delivered(u)
if known then
  redis.call('UNLINK', KEYS[4])
else
  local f = redis.call('HMGET', KEYS[3], 'fseq', 'fn', 'fr', 'fm', 'ff', 'fl', 'fd', 'fc')
  redis.call('RENAME', KEYS[4], KEYS[8])
  redis.call('HSET', KEYS[7], 'user', ARGV[4], 'why', ARGV[7], 'at', text(now), 'fa', u.fa, 'fseq', f[1], 'fn', f[2],
    'fr', f[3], 'fm', f[4], 'ff', f[5], 'fl', f[6], 'fd', f[7], 'fc', f[8], 'more', ARGV[13])
  redis.call('ZADD', KEYS[6], text(now), ARGV[5])
end
clear_flight(KEYS[3], u)
remember(KEYS[5], now, known and ARGV[12] or ARGV[8])
local owner = owner_besides(KEYS[1], ARGV[9], now)
local at = schedule_and_tell(KEYS[2], KEYS[3], ARGV[4], u, now, owner, ARGV[10], ARGV[11])
return { known and 'known' or 'ok', remaining(at, now) }
