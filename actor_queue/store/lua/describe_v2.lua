#!lua flags=no-writes
-- with prelude_v2
-- describe_v2: everything about one user but the texts. Reads only. As describe_v1, which it may run beside, and says
-- since when something waits.
--
-- KEYS  u, p, h, s
-- ARGV  now, how many lines of history at most
-- Returns {pending, ms until the next step or -1, ms still held, 'a'|'r'|'', batch id, seq, reason, messages,
--          attempts, closed_at, ms until the attempt's limit or the retry, replays queued, {history},
--          when the oldest message was kept that waits or is in flight, 0 when there is none}

local now = clock(ARGV[1])
local u = load_user(KEYS[1])
local f = redis.call('HMGET', KEYS[1], 'fseq', 'fr', 'fn', 'fc', 'ff')
local at = next_step(u)
local oldest = 0
if u.fs and not delivered(u) then
  oldest = num(f[5])
elseif u.sn > u.rn then
  oldest = num(string.match(redis.call('LINDEX', KEYS[4], u.rn) or '', '^%d+,(%d+),'))
elseif u.on > 0 then
  oldest = u.of
end
local lines = num(ARGV[2])
local history = lines > 0 and redis.call('LRANGE', KEYS[3], 0, lines - 1) or {}
return { redis.call('LLEN', KEYS[2]), remaining(at, now), math.max(0, u.hu - now), u.fs or '', u.fid or '', num(f[1]),
  f[2] or '', num(f[3]), u.fa, num(f[4]), math.max(0, u.fu - now), u.rn, history, oldest }
