#!lua flags=allow-oom
-- with prelude_v2
-- erase_v1: forget a user: what waits, what was attempted, what was done by hand, the counters, a hold. An attempt under
-- way cannot be called back, so its batch counts as delivered from now on: whatever comes of the attempt, there is no
-- other and no dead letter. erase_rest_v1 then removes what it leaves. Called by any replica.
--
-- KEYS  due, u, p, s, f, h, by, erasing
-- ARGV  now, user, ms until what erasing knows is forgotten
-- Returns {messages erased, id of the batch that waited for its retry or '', id of the batch under way or ''}
-- Dead letters, the ids of messages and the history of all users are other keys, with scripts of their own.

local now = clock(ARGV[1])
local u = load_user(KEYS[2])
redis.call('ZCARD', KEYS[1])
redis.call('LLEN', KEYS[4])
redis.call('LLEN', KEYS[6])
redis.call('LLEN', KEYS[7])
redis.call('ZCARD', KEYS[8])
local messages, flying = redis.call('LLEN', KEYS[3]), redis.call('LLEN', KEYS[5])
redis.call('UNLINK', KEYS[3], KEYS[4], KEYS[6], KEYS[7])
if u.fs == 'a' then
  u.on, u.sn, u.hu = 0, 0, 0
  redis.call('HSET', KEYS[2], 'fk', u.fo, 'on', 0, 'ob', 0, 'sn', 0, 'rn', 0, 'pb', 0, 'hu', 0)
  redis.call('HDEL', KEYS[2], 'hv')
  schedule(KEYS[1], KEYS[2], ARGV[2], u, now)
  redis.call('ZADD', KEYS[8], text(now), u.fid .. ' ' .. ARGV[2])
  redis.call('PEXPIRE', KEYS[8], ARGV[3])
  return { messages, '', u.fid }
end
redis.call('UNLINK', KEYS[2], KEYS[5])
redis.call('ZREM', KEYS[1], ARGV[2])
return { messages + flying, u.fs == 'r' and u.fid or '', '' }
