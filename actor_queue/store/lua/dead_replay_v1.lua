#!lua flags=allow-oom
-- dead_replay_v1: queue a dead letter at the head of its user's line, behind the replays that are queued already.
-- It stays a dead letter until its replay is claimed.
--
-- KEYS  due, u, s, d
-- ARGV  now, user, id
-- Returns 1, or 0 when there is no such dead letter
-- Repeatable: what is queued is not queued again.

local now = clock(ARGV[1])
if redis.call('HGET', KEYS[4], 'user') ~= ARGV[2] then
  return 0
end
local u = load_user(KEYS[2])
redis.call('ZCARD', KEYS[1])
local entry = 'R' .. ARGV[3]
if redis.call('LPOS', KEYS[3], entry) then
  return 1
end
local pivot = redis.call('LINDEX', KEYS[3], u.rn)
if pivot then
  redis.call('LINSERT', KEYS[3], 'BEFORE', pivot, entry)
else
  redis.call('RPUSH', KEYS[3], entry)
end
u.sn, u.rn, u.sd = u.sn + 1, u.rn + 1, now
redis.call('HSET', KEYS[2], 'sn', u.sn, 'rn', u.rn, 'sd', text(now))
schedule(KEYS[1], KEYS[2], ARGV[2], u, now)
return 1
