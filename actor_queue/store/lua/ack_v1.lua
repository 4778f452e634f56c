#!lua flags=allow-oom
-- ack_v1: the batch was delivered. Fenced by the batch's id alone: that it was delivered stays true whoever
-- reports it, and a late report spares the receiver a duplicate.
--
-- KEYS  lease, due, u, f, h
-- ARGV  now, user, batch id, history entry, caller, channel, shard
-- Returns {'ok', ms until the next step or -1} | {'gone'}

local now = clock(ARGV[1])
local u = load_user(KEYS[3])
if not u.fs or u.fid ~= ARGV[3] then
  return { 'gone' }
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[5])
redis.call('UNLINK', KEYS[4])
clear_flight(KEYS[3], u)
remember(KEYS[5], now, ARGV[4])
local owner = owner_besides(KEYS[1], ARGV[5], now)
local at = schedule_and_tell(KEYS[2], KEYS[3], ARGV[2], u, now, owner, ARGV[6], ARGV[7])
return { 'ok', remaining(at, now) }
