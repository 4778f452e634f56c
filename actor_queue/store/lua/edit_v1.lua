#!lua
-- with prelude_v2
-- edit_v1: put a message with another text in the place of one that waits. It keeps its place, its number and its time.
-- The user is at the keyboard, so the open window waits as after a typing signal (see typing_v1). Called by any replica.
--
-- KEYS  lease, due, u, p, s
-- ARGV  now, user, caller, channel, shard, place, stored message, the same with the other text, max_bytes, frame, times,
--       each, max_pending_bytes, longest window_ms where there is no maximum wait
-- Returns 'ok'
--       | 'moved'       this message is not at this place (any more): look again
--       | 'claimed'     it is in a half of a batch that was sent as a whole
--       | 'batch'       a batch of several messages would be larger than max_bytes
--       | 'pending'     more than max_pending_bytes would wait
-- Repeatable: the second time the message at the place is the new one, so it has moved.
--
-- `max_bytes` counts as in append_v2, and a window that reaches it goes at once, as there.

local now, user_key, list, line = clock(ARGV[1]), KEYS[3], KEYS[4], KEYS[5]
local place, old, new = num(ARGV[6]), ARGV[7], ARGV[8]
local max_bytes, frame, times, each = num(ARGV[9]), num(ARGV[10]), num(ARGV[11]), num(ARGV[12])
local u = load_user(user_key)
redis.call('ZCARD', KEYS[2])
local pending, queued = redis.call('LLEN', list), redis.call('LLEN', line)
if redis.call('LINDEX', list, place) ~= old then
  return 'moved'
end
local grown = #new - #old

-- The closed batch in the line that holds the message: its first message's place, and how many it has. Nothing where
-- the open window holds it.
local function closed_around()
  local before = 0
  for from = 0, queued - 1, 1000 do
    for _, entry in ipairs(redis.call('LRANGE', line, from, from + 999)) do
      local count = num(string.match(entry, '^(%d+),'))
      if place < before + count then
        return before, count
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

-- What so many messages from `first` on count as now.
local function bytes_of(first, count)
  local bytes = frame
  for from = first, first + count - 1, 20 do
    for _, item in ipairs(redis.call('LRANGE', list, from, math.min(from + 19, first + count - 1))) do
      bytes = bytes + times * #item + each
    end
  end
  return bytes
end

local first, count = closed_around()
if first and is_half(first) then
  return 'claimed'
end
if grown > 0 then
  local several, bytes = (count or u.on) > 1, u.ob
  if first and several then
    bytes = bytes_of(first, count)
  end
  if several and bytes + times * grown > max_bytes then
    return 'batch'
  end
  if pending > 1 and u.pb + grown > num(ARGV[13]) then
    return 'pending'
  end
end

redis.call('LSET', list, place, new)
-- What an older release appended was not counted.
u.pb = math.max(0, u.pb + grown)
local at = math.max(now, u.ol)
if not first then
  u.ob = math.max(0, u.ob + times * grown)
end
if not first and grown > 0 and u.ob >= max_bytes then
  seal(line, u, u.on, at, 'max_bytes')
  if u.sn == 0 then
    u.sd = at
  end
  u.sn, u.on, u.ob = u.sn + 1, 0, 0
elseif u.on > 0 and not u.fs then
  local cap = u.ow > 0 and u.ow or u.of + num(ARGV[14])
  u.od = math.max(u.od, math.min(at + u.ot, cap))
end
redis.call('HSET', user_key, 'pb', text(u.pb), 'on', u.on, 'ob', u.ob, 'od', text(u.od), 'sn', u.sn, 'sd', text(u.sd))
local owner = owner_besides(KEYS[1], ARGV[3], now)
schedule_and_tell(KEYS[2], user_key, ARGV[2], u, now, owner, ARGV[4], ARGV[5])
return 'ok'
