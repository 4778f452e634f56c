#!lua flags=allow-oom
-- heartbeat_v1: say that a replica lives, forget the silent ones, see who else does.
--
-- KEYS  members
-- ARGV  now, replica, ttl_ms
-- Returns a flat list: replica, ms since it was seen, …

local now = clock(ARGV[1])
redis.call('ZADD', KEYS[1], text(now), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. text(now - num(ARGV[3])))
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 2, #members, 2 do
  members[i] = math.max(0, now - num(members[i]))
end
return members
