#!lua flags=allow-oom
-- with prelude_v3
-- claim_replay_v2: take the replay at the head of a user's line. Called by the shard's owner after claim_v3 said
-- which dead letter it is, so that its keys can be named.
--
-- KEYS  lease, due, u, s, f, dead, d, di
-- ARGV  now, epoch, nonce, user, token, dead letter id, attempt_ms
-- Returns {'fenced'} | {'again'} (things have changed: claim once more) | {'attempt', …} as claim_v3
-- Repeatable by its token, as claim_v3.

local now, user, id = clock(ARGV[1]), ARGV[4], ARGV[6]
if fenced(KEYS[1], ARGV[2], ARGV[3], now) then
  return { 'fenced' }
end
local due_key, user_key, line, flight, dead, letter, items = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local u = load_user(user_key)
if u.fs == 'a' and u.fo == ARGV[5] and now < u.fu then
  return attempt(user_key, flight, now)
end
if u.fs or now < u.hu or redis.call('LINDEX', line, 0) ~= 'R' .. id then
  return { 'again' }
end
redis.call('ZCARD', due_key)
local d = redis.call('HMGET', letter, 'fseq', 'fn', 'fr', 'fm', 'ff', 'fl', 'fd', 'fc')
local there = redis.call('LLEN', items) > 0

redis.call('LPOP', line)
u.sn, u.rn = u.sn - 1, u.rn - 1
redis.call('HSET', user_key, 'sn', u.sn, 'rn', u.rn)
if not (d[1] and there) then
  -- Deleted since it was queued.
  schedule(due_key, user_key, user, u, now)
  return { 'again' }
end
redis.call('RENAME', items, flight)
redis.call('DEL', letter)
redis.call('ZREM', dead, id)
u.fs, u.fu = 'a', now + num(ARGV[7])
redis.call('HSET', user_key, 'fid', id, 'fseq', d[1], 'fn', d[2], 'fr', d[3], 'fm', d[4], 'ff', d[5], 'fl', d[6],
  'fd', d[7], 'fc', d[8], 'fs', 'a', 'fu', text(u.fu), 'fa', 1, 'fo', ARGV[5])
schedule(due_key, user_key, user, u, now)
return attempt(user_key, flight, now)
