#!lua flags=allow-oom
-- retry_v1: the attempt failed, the batch waits for its next one. Called by the shard's owner.
--
-- KEYS  lease, due, u, h
-- ARGV  now, epoch, nonce, user, batch id, attempt number, after_ms, history entry, caller, channel, shard
-- Returns {'ok', ms until the next step} | {'gone'} | {'fenced'}
-- Repeatable: the second time the attempt is not under way any more, so it is gone.

local now = clock(ARGV[1])
if estranged(KEYS[1], ARGV[2], ARGV[3], now) then
  return { 'fenced' }
end
local u = load_user(KEYS[3])
if u.fs ~= 'a' or u.fid ~= ARGV[5] or u.fa ~= num(ARGV[6]) then
  return { 'gone' }
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[4])
u.fs, u.fu = 'r', now + num(ARGV[7])
redis.call('HSET', KEYS[3], 'fs', 'r', 'fu', text(u.fu))
remember(KEYS[4], now, ARGV[8])
local owner = owner_besides(KEYS[1], ARGV[9], now)
local at = schedule_and_tell(KEYS[2], KEYS[3], ARGV[4], u, now, owner, ARGV[10], ARGV[11])
return { 'ok', remaining(at, now) }
