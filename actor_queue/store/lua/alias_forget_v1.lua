#!lua flags=allow-oom
-- with nothing
-- alias_forget_v1: remove one end of a link whose other end is erased. Called by any replica, before erase_aliases_v1
-- removes that other end, so that a call that failed half-way finds it again.
--
-- KEYS  to and of of one conversation
-- ARGV  now, the conversation that is erased
-- Returns 1 when something was there, else 0
-- How long this conversation may remember ids of its own is not forgotten.

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local ends, target = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(.*)$')
local gone = redis.call('ZREM', KEYS[2], ARGV[2])
if target ~= ARGV[2] then
  return gone
end
local left = tonumber(ends) - now
if left > 0 then
  redis.call('SET', KEYS[1], ends .. ':', 'PX', string.format('%.0f', left))
else
  redis.call('UNLINK', KEYS[1])
end
return 1
