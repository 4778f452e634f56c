#!lua flags=allow-oom
-- lease_aside_v1: move aside what stands at a lease's key and is no lease. It would keep all POSTs of the shard out until
-- somebody removes it. Called by whoever asks for the lease, and only when the key is known to hold something else:
-- while a cluster moves the slot, a script with two keys of which one is not there is refused.
--
-- KEYS  lease, aside
-- ARGV  (none)
-- Returns 1; 0 when it is a lease by now, or nothing
-- What was moved aside before is replaced: one thing is kept, the newest.

local lease = redis.pcall('HMGET', KEYS[1], 'epoch')
if not lease.err then
  return 0
end
if not string.find(lease.err, 'WRONGTYPE', 1, true) then
  return lease
end
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
