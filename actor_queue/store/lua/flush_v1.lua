#!lua flags=allow-oom
-- flush_v1: send now: close the open window, and let a batch that waits for its retry go at once. Called by any
-- replica. A hold is stronger: somebody took over on purpose.
--
-- KEYS  due, u, s
-- ARGV  now, user
-- Returns 'held' | 'ok'

local now = clock(ARGV[1])
local u = load_user(KEYS[2])
if u.hu > now then
  return 'held'
end
redis.call('ZCARD', KEYS[1])
redis.call('LLEN', KEYS[3])
if u.on > 0 then
  seal(KEYS[3], u, u.on, now, 'flush')
  if u.sn == 0 then
    u.sd = now
  end
  u.sn, u.on, u.ob = u.sn + 1, 0, 0
  redis.call('HSET', KEYS[2], 'on', 0, 'ob', 0, 'sn', u.sn, 'sd', text(u.sd))
end
if u.fs == 'r' and u.fu > now then
  u.fu = now
  redis.call('HSET', KEYS[2], 'fu', text(now))
end
if u.fs or u.sn > 0 then
  schedule(KEYS[1], KEYS[2], ARGV[2], u, now)
end
return 'ok'
