#!lua flags=allow-oom
-- dead_drop_v1: delete a dead letter, and its replay if one is queued.
--
-- KEYS  due, u, s, dead, d, di
-- ARGV  now, user, id
-- Returns 1, or 0 when there is none

local now = clock(ARGV[1])
if redis.call('HGET', KEYS[5], 'user') ~= ARGV[2] then
  return 0
end
local u = load_user(KEYS[2])
redis.call('ZCARD', KEYS[1])
redis.call('ZCARD', KEYS[4])
if redis.call('LREM', KEYS[3], 1, 'R' .. ARGV[3]) == 1 then
  u.sn, u.rn = u.sn - 1, u.rn - 1
  redis.call('HSET', KEYS[2], 'sn', u.sn, 'rn', u.rn)
  schedule(KEYS[1], KEYS[2], ARGV[2], u, now)
end
redis.call('ZREM', KEYS[4], ARGV[3])
redis.call('UNLINK', KEYS[5], KEYS[6])
return 1
