#!lua flags=allow-oom
-- with prelude_v2
-- divide_v1: the receiver finds the batch too large. It becomes two, in order, each with a new id that is made of the
-- old one. The first half is in flight in its place and due at once, with no attempt behind it. The second half goes
-- back in front of the user's pending messages, closed, and first in the line but for replays. Called by the shard's
-- owner. A batch that an earlier attempt has delivered is not divided: its user's turn ends here.
--
-- KEYS  lease, due, u, p, s, f, h
-- ARGV  now, epoch, nonce, user, batch id, the attempt's token, history entry, caller, channel, shard,
--       history entry where the batch is delivered
-- Returns {'ok', ms until the next step}
--       | {'known', ms until the next step or -1}   an earlier attempt had delivered the batch
--       | {'gone'} | {'fenced'}
-- Repeatable: the second time the batch is not in flight any more, so it is gone. The batch has two messages or more.
--
-- In the line a half looks like any closed batch, so that a replica of an older release can claim it, under an id that
-- does not say what it is a half of. What makes it a half stands in the user's hash (`hv`, see the prelude), and counts
-- only for the batch whose first message it names: an older release leaves it behind.

local now, user_key = clock(ARGV[1]), KEYS[3]
if estranged(KEYS[1], ARGV[2], ARGV[3], now) then
  return { 'fenced' }
end
local u = load_user(user_key)
if u.fs ~= 'a' or u.fid ~= ARGV[5] or u.fo ~= ARGV[6] then
  return { 'gone' }
end
local list, line, flight = KEYS[4], KEYS[5], KEYS[6]
redis.call('ZCARD', KEYS[2])
local bytes = redis.call('LLEN', list) > 0 and u.pb or 0
redis.call('LLEN', KEYS[7])
local pivot = redis.call('LINDEX', line, u.rn)
local known = delivered(u)

-- When a stored message was kept, as text.
local function kept_at(item)
  return string.match(item, '^%[%d+,(%d+),')
end

-- Put the messages from `from` on back in front of what waits, in pages: they may be many.
local function put_back(from, count)
  local last = count - 1
  while last >= from do
    local first = math.max(from, last - 999)
    local page = redis.call('LRANGE', flight, first, last)
    local reversed = {}
    for i = #page, 1, -1 do
      reversed[#reversed + 1] = page[i]
      bytes = bytes + #page[i]
    end
    redis.call('LPUSH', list, unpack(reversed))
    last = first - 1
  end
  redis.call('LTRIM', flight, 0, from - 1)
end

local function divide()
  local count = redis.call('LLEN', flight)
  assert(count > 1, 'a single message cannot be divided')
  local kept = math.ceil(count / 2)
  local f = redis.call('HMGET', user_key, 'fr', 'fm', 'fl', 'fd', 'fc', 'hv')
  local reason, mode, last, due, closed = f[1], f[2], f[3], f[4], f[5]
  local edge = redis.call('LRANGE', flight, kept - 1, kept)
  local half = string.match(edge[2], '^%[(%d+,%d+),') .. ' ' .. ARGV[5] .. ' ' .. closed .. ' ' .. mode
  -- Without closed batches in the line nothing that stands there can count any more.
  local halves = u.sn > u.rn and f[6] and half .. ';' .. f[6] or half

  put_back(kept, count)
  local entry = string.format('%d,%s,%s,%s,%s', count - kept, kept_at(edge[2]), last, due, reason)
  if pivot then
    redis.call('LINSERT', line, 'BEFORE', pivot, entry)
  else
    redis.call('RPUSH', line, entry)
  end
  if u.sn == 0 then
    redis.call('HSET', user_key, 'sd', text(now))
  end
  u.sn, u.fs, u.fu = u.sn + 1, 'r', now
  redis.call('HSET', user_key, 'sn', u.sn, 'hv', halves, 'fs', 'r', 'fu', text(now), 'fa', 0, 'fn', kept,
    'pb', text(bytes), 'fl', kept_at(edge[1]), 'bseq', u.bseq + 1, 'fseq', u.bseq + 1,
    'fid', string.format('%sx%x', ARGV[5], u.bseq + 1))
end

if known then
  redis.call('UNLINK', flight)
  clear_flight(user_key, u)
else
  divide()
end
remember(KEYS[7], now, known and ARGV[11] or ARGV[7])
local owner = owner_besides(KEYS[1], ARGV[8], now)
local at = schedule_and_tell(KEYS[2], user_key, ARGV[4], u, now, owner, ARGV[9], ARGV[10])
return { known and 'known' or 'ok', remaining(at, now) }
