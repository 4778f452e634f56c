#!lua flags=allow-oom
-- dead_expire_v1: delete a dead letter that is older than it may be, or an entry of the index whose letter is gone.
-- Called by the shard's owner. A letter whose replay is queued stays: somebody wants it to be sent.
--
-- KEYS  lease, dead, s, d, di
-- ARGV  now, epoch, nonce, user ('' where there is no letter), id, retention_ms
-- Returns 1 | 0 when it stays | -1 fenced
-- Repeatable: what is gone stays gone, and what was buried anew meanwhile is young.

local now = clock(ARGV[1])
if fenced(KEYS[1], ARGV[2], ARGV[3], now) then
  return -1
end
local died_at = redis.call('ZSCORE', KEYS[2], ARGV[5])
local user = redis.call('HGET', KEYS[4], 'user') or ''
redis.call('LLEN', KEYS[5])
if not died_at or num(died_at) > now - num(ARGV[6]) or user ~= ARGV[4] then
  return 0
end
if redis.call('LPOS', KEYS[3], 'R' .. ARGV[5]) then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[5])
redis.call('UNLINK', KEYS[4], KEYS[5])
return 1
