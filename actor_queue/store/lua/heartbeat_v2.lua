#!lua flags=allow-oom
-- with prelude_v1
-- travels with rest
-- heartbeat_v2: say that a replica lives and in which modes it can render a batch, forget the silent ones, see who else
-- does. As heartbeat_v1, which it may run beside: a replica that calls that one says nothing of modes.
--
-- KEYS  members, modes
-- ARGV  now, replica, ttl_ms, "replica mode mode …"
-- Returns {{replica, ms since it was seen, …}, {"replica mode mode …", …}}

local now = clock(ARGV[1])
redis.call('ZCARD', KEYS[2])
redis.call('ZADD', KEYS[1], text(now), ARGV[2])
redis.call('ZADD', KEYS[2], text(now), ARGV[4])
for i = 1, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', '(' .. text(now - num(ARGV[3])))
end
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 2, #members, 2 do
  members[i] = math.max(0, now - num(members[i]))
end
return { members, redis.call('ZRANGE', KEYS[2], 0, -1) }
