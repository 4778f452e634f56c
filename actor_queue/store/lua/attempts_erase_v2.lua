#!lua flags=allow-oom
-- with prelude_v2
-- attempts_erase_v2: take the attempts of a user of one route out of a page of the history of the whole namespace. Their
-- lines keep their number, so that no cursor moves, and nothing else.
--
-- KEYS  attempts
-- ARGV  the user as JSON, the number to go on behind ('' = from the newest), limit, route ('' = default)
-- Returns {number of the last line or 0, attempts erased}

-- What stands between the user and the reason.
local FACTS = '^"[^"]*",%d+,"%a",[%dnul]+,[%dnul]+,%d+,%d+,"[^"]*","[^"]*",'

-- A line ends with its reason, and of another route than the default one with the route's name behind it.
local function route_of(line, from)
  local _, last = string.find(string.sub(line, from), FACTS)
  local at = last and from + last or from
  if string.sub(line, at, at) ~= '"' then
    at = at + 4 -- no reason: null
  else
    repeat
      at = string.find(line, '["\\]', at + 1)
      local escape = at and string.sub(line, at, at) == '\\'
      if escape then
        at = at + 1
      end
    until not escape
    at = at and at + 1
  end
  return at and string.match(string.sub(line, at), '^,"([^"]*)"%]$') or ''
end

local newest = num(string.match(redis.call('LINDEX', KEYS[1], 0) or '', '^%[(%d+)'))
local from = ARGV[2] == '' and newest or math.min(newest, num(ARGV[2]) - 1)
local start, erased, wanted = newest - from, 0, ARGV[1] .. ','
local lines = redis.call('LRANGE', KEYS[1], start, start + num(ARGV[3]) - 1)
for i, line in ipairs(lines) do
  local _, before, number = string.find(line, '^%[(%d+),%d+,')
  local behind = before and before + #wanted
  if before and string.sub(line, before + 1, behind) == wanted and route_of(line, behind + 1) == ARGV[4] then
    redis.call('LSET', KEYS[1], start + i - 1, '[' .. number .. ']')
    erased = erased + 1
  end
end
return { #lines < num(ARGV[3]) and 0 or from - #lines + 1, erased }
