#!lua
-- with prelude_v2
-- append_v2: keep messages of one shard, reset their users' windows. Called by any replica.
--
-- KEYS  lease, due, then per user: u p s, then per message that the sender named: id
-- ARGV  now, caller, channel, shard, max_pending, remember_ms, max_messages, max_bytes, frame, times, each,
--       max_wait_ms, max_pending_bytes, users,
--       then per user: user, messages, then per message: ttl_ms, named (1|0), payload
--       A payload is `"message_id",{object}`; stored as [seq,now,"message_id",{object}].
--       A window counts as `frame` bytes, and each of its messages as `times` its stored length plus `each`.
-- Returns a flat list: now, then four numbers per message, in order: what (0 accepted, 1 duplicate, 2 too many
--       messages wait, 3 too many bytes), messages waiting after it, ms until they close, ms until the user's next
--       step (-1: none).
-- Repeatable for named messages: the second time they are duplicates. Everything that can fail is read in the
-- first pass; the second pass only writes, because a script is not rolled back.
--
-- append_v1 let a message into the window that it made too large. Here it closes the window before it, which
-- goes at once, and opens the next one. The two count bytes in different units where `times` is not 1: a window
-- that replicas of both releases filled may be closed sooner or later than either would alone.
--
-- `pb` is the stored length of what waits: an append adds to it, a division too, a claim says what is left. An older
-- release does none of that. What it claimed goes on counting, and what it appended does not, until a claim of this
-- release takes all that waits, or an append finds that nothing does.

local now = clock(ARGV[1])
local max_pending, remember_ms = num(ARGV[5]), ARGV[6]
local max_messages, max_bytes = num(ARGV[7]), num(ARGV[8])
local frame, times, each = num(ARGV[9]), num(ARGV[10]), num(ARGV[11])
local max_wait, max_pending_bytes = num(ARGV[12]), num(ARGV[13])

local function closes_in(u, at)
  if u.closed then
    return math.max(0, u.hu - at)
  end
  return math.max(0, math.max(u.od, u.hu) - at)
end

-- Close the window in memory: what it holds becomes the last batch of the line.
local function close(p, u, at, reason)
  p.seals[#p.seals + 1] = { of = u.of, ol = u.ol, count = u.on, due = at, reason = reason }
  if u.sn == 0 then
    u.sd = at
  end
  u.sn, u.on, u.ob, u.closed = u.sn + 1, 0, 0, true
end

-- Add one message to the window in memory; before it, close a window that it would make too large, and after
-- it one that is full.
local function take(p, u, at, ttl, item)
  u.seq = u.seq + 1
  local size = times * #item + each
  p.items[#p.items + 1] = item
  if u.on > 0 and u.ob + size > max_bytes then
    close(p, u, at, 'max_bytes')
  end
  if u.on == 0 then
    u.of = at
    u.ob = frame
    u.ow = max_wait > 0 and at + max_wait or 0
  end
  u.on, u.ob, u.ol, u.ot = u.on + 1, u.ob + size, at, ttl
  u.od = at + ttl
  if u.ow > 0 and u.od > u.ow then
    u.od = u.ow
  end
  u.closed = false
  local reason = u.on >= max_messages and 'max_messages' or u.ob >= max_bytes and 'max_bytes'
  if reason then
    close(p, u, at, reason)
  end
end

local owner = owner_besides(KEYS[1], ARGV[2], now)
redis.call('ZCARD', KEYS[2])
local key, arg, reply, plan, seen = 3, 15, { now }, {}, {}
for _ = 1, num(ARGV[14]) do
  local p = { user = ARGV[arg], hash = KEYS[key], list = KEYS[key + 1], line = KEYS[key + 2], items = {}, seals = {}, ids = {} }
  local u = load_user(p.hash)
  local pending = redis.call('LLEN', p.list)
  redis.call('LLEN', p.line)
  -- A clock that steps back must not let a later message be due, or look, earlier than its predecessor.
  local at = math.max(now, u.ol)
  u.closed = u.on == 0
  if pending == 0 then
    u.pb = 0
  end
  local messages = num(ARGV[arg + 1])
  key, arg = key + 3, arg + 2
  for _ = 1, messages do
    local id = ARGV[arg + 1] == '1' and KEYS[key]
    local what = 0
    if id then
      key = key + 1
      if seen[id] or redis.call('EXISTS', id) == 1 then
        what = 1
      end
    end
    local item = '[' .. text(u.seq + 1) .. ',' .. text(at) .. ',' .. ARGV[arg + 2] .. ']'
    if what == 0 and pending >= max_pending then
      what = 2
    elseif what == 0 and pending > 0 and u.pb + #item > max_pending_bytes then
      what = 3
    end
    if what == 0 then
      take(p, u, at, num(ARGV[arg]), item)
      pending, u.pb = pending + 1, u.pb + #item
      if id then
        seen[id] = true
        p.ids[#p.ids + 1] = id
      end
    end
    reply[#reply + 1] = what
    reply[#reply + 1] = pending
    reply[#reply + 1] = closes_in(u, at)
    reply[#reply + 1] = remaining(next_step(u), at)
    arg = arg + 3
  end
  p.u, p.at = u, at
  plan[#plan + 1] = p
end

for _, p in ipairs(plan) do
  if #p.items > 0 then
    local u = p.u
    redis.call('RPUSH', p.list, unpack(p.items))
    for _, s in ipairs(p.seals) do
      seal(p.line, s, s.count, s.due, s.reason)
    end
    redis.call('HSET', p.hash, 'seq', text(u.seq), 'on', u.on, 'ob', u.ob, 'of', text(u.of), 'ol', text(u.ol),
      'ot', text(u.ot), 'ow', text(u.ow), 'od', text(u.od), 'sn', u.sn, 'sd', text(u.sd), 'pb', text(u.pb))
    for _, id in ipairs(p.ids) do
      redis.call('SET', id, '1', 'PX', remember_ms)
    end
    schedule_and_tell(KEYS[2], p.hash, p.user, u, p.at, owner, ARGV[3], ARGV[4])
  end
end
return reply
