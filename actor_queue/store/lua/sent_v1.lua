#!lua
-- with nothing
-- travels with rest
-- sent_v1: the receiver says which messages it sent. Called by any replica; whoever is told 1 ends the hold.
--
-- KEYS  own
-- ARGV  now, ms a message is remembered, how many messages are remembered, then the messages' ids
-- Returns 1 when one of them had held the conversation and no human's message holds it, else 0

local call = redis.call
local now, keep_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local held = 0
for at = 4, #ARGV do
  held = held + call('ZREM', KEYS[1], 'e' .. ARGV[at])
  call('ZADD', KEYS[1], now + keep_ms, 's' .. ARGV[at])
end
-- Of too many, those go first that the receiver sent the longest ago. By their time alone what may be a human's would go
-- first, because it is remembered for a hold only.
local excess = call('ZCARD', KEYS[1]) - tonumber(ARGV[3])
for _, member in ipairs(excess > 0 and call('ZRANGE', KEYS[1], 0, -1) or {}) do
  if excess > 0 and string.sub(member, 1, 1) == 's' then
    excess = excess - call('ZREM', KEYS[1], member)
  end
end
call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
if call('PTTL', KEYS[1]) < keep_ms then
  call('PEXPIRE', KEYS[1], keep_ms)
end
for _, member in ipairs(call('ZRANGE', KEYS[1], 0, -1)) do
  if string.sub(member, 1, 1) ~= 's' then
    return 0
  end
end
return held > 0 and 1 or 0
