#!lua flags=allow-oom
-- with prelude_v2
-- revoke_v1: take a message out of what waits. The others keep their order and their numbers, and no timer moves. A batch
-- that has no message left is none: it is never sent. Called by any replica.
--
-- KEYS  due, u, p, s, id
-- ARGV  now, user, place, stored message, times, each, remember_ms
-- Returns 'ok'
--       | 'moved'       this message is not at this place (any more): look again
--       | 'claimed'     it is in a half of a batch that was sent as a whole
-- Repeatable: the second time the message is not there.
--
-- Its id stays remembered, as 'r': a message that comes again is a duplicate, and whoever asks for it is told the truth.

local now, user_key, list, line = clock(ARGV[1]), KEYS[2], KEYS[3], KEYS[4]
local place, item = num(ARGV[3]), ARGV[4]
local u = load_user(user_key)
redis.call('ZCARD', KEYS[1])
redis.call('EXISTS', KEYS[5])
redis.call('LLEN', list)
local queued = redis.call('LLEN', line)
if redis.call('LINDEX', list, place) ~= item then
  return 'moved'
end

-- The closed batch in the line that holds the message: its first message's place, how many it has, its place in the line,
-- its entry. Nothing where the open window holds it.
local function closed_around()
  local before = 0
  for from = 0, queued - 1, 1000 do
    for i, entry in ipairs(redis.call('LRANGE', line, from, from + 999)) do
      local count = num(string.match(entry, '^(%d+),'))
      if place < before + count then
        return before, count, from + i - 1, entry
      end
      before = before + count
    end
  end
end

-- Whether the closed batch that begins there is a half (`hv`, see the prelude).
local function is_half(first)
  local halves = redis.call('HGET', user_key, 'hv')
  local mark = halves and string.match(redis.call('LINDEX', list, first), '^%[(%d+,%d+),')
  for entry in string.gmatch(halves or '', '[^;]+') do
    if string.match(entry, '^(%S+) ') == mark then
      return true
    end
  end
  return false
end

-- When the message at a place was kept, as text.
local function kept_at(there)
  return string.match(redis.call('LINDEX', list, there), '^%[%d+,(%d+),')
end

-- Nothing of ours is an empty text.
local function take_out(key, there)
  redis.call('LSET', key, there, '')
  redis.call('LREM', key, 1, '')
end

local first, count, in_line, entry = closed_around()
if first and is_half(first) then
  return 'claimed'
end
take_out(list, place)
u.pb = math.max(0, u.pb - #item)
if not first then
  u.on, u.ob = u.on - 1, u.on > 1 and math.max(0, u.ob - num(ARGV[5]) * #item - num(ARGV[6])) or 0
  if u.on > 0 then
    local pending = redis.call('LLEN', list)
    u.of, u.ol = num(kept_at(pending - u.on)), num(kept_at(pending - 1))
  end
elseif count == 1 then
  take_out(line, in_line)
  u.sn = u.sn - 1
else
  local rest = string.match(entry, '^%d+,%d+,%d+,(.*)$')
  local last = first + count - 2
  redis.call('LSET', line, in_line, string.format('%d,%s,%s,%s', count - 1, kept_at(first), kept_at(last), rest))
end
-- The mark of a batch that was taken back stands at its first message (`sv`, see claim_v3).
local marked, taken_back = string.match(redis.call('HGET', user_key, 'sv') or '', '^(%S+) (%S+)$')
if marked and marked == string.match(item, '^%[(%d+,%d+),') then
  local left = first and count > 1 or not first and u.on > 0
  local heir = left and string.match(redis.call('LINDEX', list, place) or '', '^%[(%d+,%d+),')
  if heir then
    redis.call('HSET', user_key, 'sv', heir .. ' ' .. taken_back)
  else
    redis.call('HDEL', user_key, 'sv')
  end
end
redis.call('HSET', user_key, 'pb', text(u.pb), 'on', u.on, 'ob', u.ob, 'of', text(u.of), 'ol', text(u.ol), 'sn', u.sn)
if not redis.call('SET', KEYS[5], 'r', 'XX', 'KEEPTTL') then
  redis.call('SET', KEYS[5], 'r', 'PX', ARGV[7])
end
schedule(KEYS[1], user_key, ARGV[2], u, now)
return 'ok'
