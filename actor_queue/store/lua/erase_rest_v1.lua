#!lua flags=allow-oom
-- with prelude_v2
-- erase_rest_v1: what erase_v1 had to leave, once the attempt that was under way then has ended. If the user has
-- written again, the counters stay, and of the history only that attempt goes. Called by any replica.
--
-- KEYS  due, u, f, h, erasing
-- ARGV  now, user, batch id
-- Returns 1, or 0 while the attempt is under way

local u = load_user(KEYS[2])
if u.fs == 'a' and u.fid == ARGV[3] then
  return 0
end
redis.call('ZCARD', KEYS[1])
local now = clock(ARGV[1])
if u.fs or u.on > 0 or u.sn > 0 or u.hu > now then
  for _, line in ipairs(redis.call('LRANGE', KEYS[4], 0, -1)) do
    if string.find(line, ',"' .. ARGV[3] .. '",', 1, true) then
      redis.call('LREM', KEYS[4], 1, line)
    end
  end
else
  redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4])
  redis.call('ZREM', KEYS[1], ARGV[2])
end
redis.call('ZREM', KEYS[5], ARGV[3] .. ' ' .. ARGV[2])
return 1
