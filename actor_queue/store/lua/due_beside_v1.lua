#!lua flags=no-writes
-- due_beside_v1: who in this shard is due soon, without the conversations of some routes, or of those routes alone. As due_v1,
-- for a sweep while routes are open, paused or closed so lately that they have a pace of their own. Reads only.
--
-- KEYS  due
-- ARGV  now, within_ms, limit, entries looked at at most, where to begin: '' for the first entry, a negative number of ms
--       from now, or what the call before returned; 'without' or 'only'; the routes
-- Returns where to go on ('' at the end), then a flat list: user, ms until due (negative when overdue), …, soonest first

local now, limit, left, from = clock(ARGV[1]), num(ARGV[3]), num(ARGV[4]), ARGV[5]
local upto = text(now + num(ARGV[2]))
if from == '' then
  from = '-inf'
elseif num(from) < 0 then
  from = text(now + num(from))
end
local named = {}
for i = 7, #ARGV do
  named[ARGV[i]] = true
end
local wanted = ARGV[6] == 'only'
local found, offset = { '' }, 0
while left > 0 do
  local size = math.min(left, 500)
  local page = redis.call('ZRANGEBYSCORE', KEYS[1], from, upto, 'WITHSCORES', 'LIMIT', offset, size)
  for i = 1, #page, 2 do
    local route = string.match(page[i], '^\255([^\255]+)\255') or 'default'
    if (named[route] or false) == wanted then
      found[#found + 1], found[#found + 2] = page[i], num(page[i + 1]) - now
    end
    if #found > 2 * limit then
      found[1] = page[i + 1]
      return found
    end
  end
  if #page < 2 * size then
    return found
  end
  left, offset = left - size, offset + size
  found[1] = page[#page]
end
return found
