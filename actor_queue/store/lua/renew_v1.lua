#!lua flags=allow-oom
-- renew_v1: extend a lease that is still ours. Late is fine as long as nobody took it in between.
--
-- KEYS  lease
-- ARGV  now, epoch, nonce, ttl_ms
-- Returns 1, or 0 when it is somebody else's

local now = clock(ARGV[1])
local lease = redis.call('HMGET', KEYS[1], 'epoch', 'nonce')
if lease[1] ~= ARGV[2] or lease[2] ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[1], 'until', text(now + num(ARGV[4])))
return 1
