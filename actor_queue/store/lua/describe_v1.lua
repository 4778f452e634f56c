#!lua flags=no-writes
-- describe_v1: everything about one user but the texts. Reads only.
--
-- KEYS  u, p, h
-- ARGV  now
-- Returns {pending, ms until the next step or -1, ms still held, 'a'|'r'|'', batch id, seq, reason, messages,
--          attempts, closed_at, ms until the attempt's limit or the retry, replays queued, {history}}

local now = clock(ARGV[1])
local u = load_user(KEYS[1])
local f = redis.call('HMGET', KEYS[1], 'fseq', 'fr', 'fn', 'fc')
local at = next_step(u)
return { redis.call('LLEN', KEYS[2]), remaining(at, now), math.max(0, u.hu - now), u.fs or '', u.fid or '', num(f[1]),
  f[2] or '', num(f[3]), u.fa, num(f[4]), math.max(0, u.fu - now), u.rn, redis.call('LRANGE', KEYS[3], 0, -1) }
