#!lua
-- with nothing
-- travels with rest
-- own_v1: an account's own message was seen, and may hold its conversation: unless the receiver has said that it sent it.
-- Called by any replica before hold_v1.
--
-- KEYS  u, own
-- ARGV  now, message id, for_ms, ms a message is remembered, how many messages are remembered
-- Returns 1 when a human may have sent it, 0 when the receiver did
--
-- `own` has the messages by when they are forgotten: `s` and the id, what the receiver has said that it sent; `e` and the
-- id, what may be a human's until then; `!`, a hold that began otherwise, and its end.

local call = redis.call
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if call('ZSCORE', KEYS[2], 's' .. ARGV[2]) then
  return 0
end
local held = tonumber(call('HGET', KEYS[1], 'hu') or 0) or 0
local known = false
for _, member in ipairs(call('ZRANGE', KEYS[2], 0, -1)) do
  known = known or string.sub(member, 1, 1) == 'e'
end
if held > now and not known then
  call('ZADD', KEYS[2], held, '!')
end
call('ZADD', KEYS[2], now + tonumber(ARGV[3]), 'e' .. ARGV[2])
-- Of too many, those go first that the receiver sent the longest ago. By their time alone what may be a human's would go
-- first, because it is remembered for a hold only.
local excess = call('ZCARD', KEYS[2]) - tonumber(ARGV[5])
for _, member in ipairs(excess > 0 and call('ZRANGE', KEYS[2], 0, -1) or {}) do
  if excess > 0 and string.sub(member, 1, 1) == 's' then
    excess = excess - call('ZREM', KEYS[2], member)
  end
end
call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[5]))
call('PEXPIRE', KEYS[2], math.max(tonumber(ARGV[3]), tonumber(ARGV[4])))
return 1
