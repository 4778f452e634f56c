#!lua flags=allow-oom
-- flush_v1: send now: close the open window, and let a batch that waits for its retry go at once. Called by any
-- replica. A hold is stronger: somebody took over on purpose.
--
-- KEYS  lease, due, u, s
-- ARGV  now, user, caller, channel, shard
-- Returns 'held' | 'ok'

local now = clock(ARGV[1])
local u = load_user(KEYS[3])
if u.hu > now then
  return 'held'
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[4])
if u.on > 0 then
  seal(KEYS[4], u, u.on, now, 'flush')
  if u.sn == 0 then
    u.sd = now
  end
  u.sn, u.on, u.ob = u.sn + 1, 0, 0
  redis.call('HSET', KEYS[3], 'on', 0, 'ob', 0, 'sn', u.sn, 'sd', text(u.sd))
end
if u.fs == 'r' and u.fu > now then
  u.fu = now
  redis.call('HSET', KEYS[3], 'fu', text(now))
end
if u.fs or u.sn > 0 then
  local owner = owner_besides(KEYS[1], ARGV[3], now)
  schedule_and_tell(KEYS[2], KEYS[3], ARGV[2], u, now, owner, ARGV[4], ARGV[5])
end
return 'ok'
