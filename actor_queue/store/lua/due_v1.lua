#!lua flags=no-writes
-- due_v1: who in this shard is due soon. Called by the owner's sweep; reads only.
--
-- KEYS  due
-- ARGV  now, within_ms, limit
-- Returns a flat list: user, ms until due (negative when overdue), …, soonest first

local now = clock(ARGV[1])
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now + num(ARGV[2])), 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 2, #found, 2 do
  found[i] = num(found[i]) - now
end
return found
