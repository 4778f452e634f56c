#!lua flags=allow-oom
-- dead_replay_v2: queue a dead letter at the head of its user's line, behind the replays that are queued already.
-- It stays a dead letter until its replay is claimed.
--
-- KEYS  lease, due, u, s, d, di
-- ARGV  now, user, caller, channel, shard, id
-- Returns 1, or 0 when there is no such dead letter, or none of its messages: it could not be claimed and would stand
-- in front of its user's others
-- Repeatable: what is queued is not queued again.

local now = clock(ARGV[1])
if redis.call('HGET', KEYS[5], 'user') ~= ARGV[2] or redis.call('LLEN', KEYS[6]) == 0 then
  return 0
end
local u = load_user(KEYS[3])
redis.call('ZCARD', KEYS[2])
local entry = 'R' .. ARGV[6]
if redis.call('LPOS', KEYS[4], entry) then
  return 1
end
local pivot = redis.call('LINDEX', KEYS[4], u.rn)
if pivot then
  redis.call('LINSERT', KEYS[4], 'BEFORE', pivot, entry)
else
  redis.call('RPUSH', KEYS[4], entry)
end
u.sn, u.rn, u.sd = u.sn + 1, u.rn + 1, now
redis.call('HSET', KEYS[3], 'sn', u.sn, 'rn', u.rn, 'sd', text(now))
local owner = owner_besides(KEYS[1], ARGV[3], now)
schedule_and_tell(KEYS[2], KEYS[3], ARGV[2], u, now, owner, ARGV[4], ARGV[5])
return 1
