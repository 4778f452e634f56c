#!lua flags=no-writes
-- with prelude_v2
-- message_v1: where a user's message waits that has this id. Reads only. Called by any replica before edit_v1 and
-- revoke_v1. It looks at a page of what waits, the newest first, because what is changed was written just now.
--
-- KEYS  p, f, id
-- ARGV  `"message_id",` as it stands in a stored message, the place to begin at (-1: the newest), messages to look at
--       and bytes of them to read at the most
-- Returns {'waits', place, stored message}   places count from 0, the oldest
--       | {'more', place}                    it is none of those: ask again from there
--       | {'claimed'}    it was accepted lately, and does not wait any more
--       | {'revoked'}    it was accepted lately, and revoke_v1 has taken it out
--       | {'unknown'}
--
-- Between two calls messages leave at the old end and come at the new one, so whatever is not seen yet is at the place
-- that was answered, or before it.

local wanted, left, room = ARGV[1], num(ARGV[3]), num(ARGV[4])

local function is_it(item)
  local _, time_ends = string.find(item, '^%[%d+,%d+,')
  return time_ends and string.sub(item, time_ends + 1, time_ends + #wanted) == wanted
end

local last = redis.call('LLEN', KEYS[1]) - 1
if num(ARGV[2]) >= 0 then
  last = math.min(last, num(ARGV[2]))
end
while last >= 0 do
  if left <= 0 or room <= 0 then
    return { 'more', last }
  end
  -- In small pages: how long a message is, is known only when it is read.
  local first = math.max(0, last - 19)
  local page = redis.call('LRANGE', KEYS[1], first, last)
  for i = #page, 1, -1 do
    if is_it(page[i]) then
      return { 'waits', first + i - 1, page[i] }
    end
    left, room = left - 1, room - #page[i]
  end
  last = first - 1
end

local remembered = redis.call('GET', KEYS[3])
if remembered then
  return { remembered == 'r' and 'revoked' or 'claimed' }
end
-- An id that the service made itself is remembered nowhere.
for _, item in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if is_it(item) then
    return { 'claimed' }
  end
end
return { 'unknown' }
