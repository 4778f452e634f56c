#!lua flags=allow-oom
-- acquire_v1: take a shard's lease if it is free, expired, or already ours by its nonce. A live lease is never
-- stolen.
--
-- KEYS  lease
-- ARGV  now, replica, nonce, ttl_ms
-- Returns {'ok', epoch} | {'held', owner, ms left}
-- The epoch grows with the server's clock, so that a failover which forgets one cannot issue it again.

local now = clock(ARGV[1])
local lease = redis.call('HMGET', KEYS[1], 'epoch', 'nonce', 'until', 'owner')
local epoch, ours = num(lease[1]), lease[2] == ARGV[3]
if not ours and num(lease[3]) > now then
  return { 'held', lease[4], num(lease[3]) - now }
end
if not ours then
  epoch = math.max(epoch + 1, now)
  redis.call('HSET', KEYS[1], 'epoch', text(epoch), 'nonce', ARGV[3], 'owner', ARGV[2], 'since', text(now))
end
redis.call('HSET', KEYS[1], 'until', text(now + num(ARGV[4])))
return { 'ok', epoch }
