#!lua flags=allow-oom
-- acquire_v2: take a shard's lease if it is free, expired, or already ours by its nonce. A live lease is never
-- stolen.
--
-- KEYS  lease
-- ARGV  now, replica, nonce, ttl_ms
-- Returns {'ok', epoch} | {'held', owner, ms left}
-- The epoch grows with the server's clock, so that a failover which forgets one cannot issue it again. One that reads
-- otherwise than it would be written is none of ours: every call under it would be fenced, so we take another.

local now = clock(ARGV[1])
local lease = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'until', 'owner')
local epoch, ours = num(lease[1]), lease[2] == ARGV[3]
if not ours and num(lease[3]) > now then
  return { 'held', lease[4], num(lease[3]) - now }
end
if epoch ~= epoch or epoch > 2 ^ 52 then
  epoch = 0 -- not a number, or one so large that one more is the same
end
if not ours or lease[1] ~= text(epoch) then
  epoch = math.max(epoch + 1, now)
  redis.call('HSET', KEYS[1], 'epoch', text(epoch), 'nonce', ARGV[3], 'owner', ARGV[2], 'since', text(now))
end
redis.call('HSET', KEYS[1], 'until', text(now + num(ARGV[4])))
return { 'ok', epoch }
