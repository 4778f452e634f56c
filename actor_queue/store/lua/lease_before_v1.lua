#!lua flags=no-writes
-- lease_before_v1: whose a shard was, and why it is free. Asked in front of an acquire, for the log.
--
-- KEYS  lease
-- ARGV  now
-- Returns {owner or '', 'unowned' | 'handed_over' | 'lease_ended' | 'held'}

local now = clock(ARGV[1])
local lease = redis.call('HMGET', KEYS[1], 'owner', 'nonce', 'until')
if not lease[1] then
  return { '', 'unowned' }
end
if lease[2] == '' then
  return { lease[1], 'handed_over' }
end
return { lease[1], num(lease[3]) > now and 'held' or 'lease_ended' }
