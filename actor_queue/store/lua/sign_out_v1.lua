#!lua flags=allow-oom
-- with prelude_v2
-- travels with rest
-- sign_out_v1: a browser's session was ended before its time: no replica believes its cookie any more, also none that
-- starts later. Any replica may call it, and repeat it.
--
-- KEYS  signed_out, a sorted set: what tells a session from all others, by the Unix second at which it would end
-- ARGV  now, the session, its end, how many are kept, how many seconds past its end one is kept, ms until the set expires
-- Returns how many are kept now. Of too many, those go that would end first.

local now = clock(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', math.floor(now / 1000) - num(ARGV[5]))
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
local excess = redis.call('ZCARD', KEYS[1]) - num(ARGV[4])
if excess > 0 then
  for _, session in ipairs(redis.call('ZRANGE', KEYS[1], 0, excess - 1)) do
    redis.call('ZREM', KEYS[1], session)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return redis.call('ZCARD', KEYS[1])
