#!lua flags=allow-oom
-- with prelude_v2
-- erase_mark_v1: nobody may remember attempts of this user that have ended until now, or any of this batch. A replica
-- may have made some that it has yet to tell of.
--
-- KEYS  erased
-- ARGV  now, the user's hash, a batch id or '', ms until a mark is forgotten
-- Returns 1

local now, kept = clock(ARGV[1]), num(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now - kept))
redis.call('ZADD', KEYS[1], text(now), ARGV[2])
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[1], text(now + kept), ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], text(2 * kept))
return 1
