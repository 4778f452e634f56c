#!lua flags=allow-oom
-- with prelude_v2
-- attempts_erase_v1: take the attempts of a user out of a page of the history of the whole namespace. Their lines keep
-- their number, so that no cursor moves, and nothing else.
--
-- KEYS  attempts
-- ARGV  the user as JSON, the number to go on behind ('' = from the newest), limit
-- Returns {number of the last line or 0, attempts erased}

local newest = num(string.match(redis.call('LINDEX', KEYS[1], 0) or '', '^%[(%d+)'))
local from = ARGV[2] == '' and newest or math.min(newest, num(ARGV[2]) - 1)
local start, erased, wanted = newest - from, 0, ARGV[1] .. ','
local lines = redis.call('LRANGE', KEYS[1], start, start + num(ARGV[3]) - 1)
for i, line in ipairs(lines) do
  local _, before, number = string.find(line, '^%[(%d+),%d+,')
  if before and string.sub(line, before + 1, before + #wanted) == wanted then
    redis.call('LSET', KEYS[1], start + i - 1, '[' .. number .. ']')
    erased = erased + 1
  end
end
return { #lines < num(ARGV[3]) and 0 or from - #lines + 1, erased }
