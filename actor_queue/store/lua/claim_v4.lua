#!lua flags=allow-oom
-- with prelude_v3
-- travels with claims
-- claim_v4: take a user's next attempt if it is due. Called by the shard's owner. This is where the truth about
-- "due" is; a timer in a replica's memory is only a hint.
--
-- KEYS  lease, due, u, p, s, f, h
-- ARGV  now, epoch, nonce, user, token, batch_id, attempt_ms, payload mode, attempts a batch may have
-- Returns {'fenced'}
--       | {'wait', ms}            the next step is that far away
--       | {'none'}                nothing waits
--       | {'replay', id}          a dead letter's replay is next: claim_replay_v2 takes it
--       | {'attempt', number, ms left, id, seq, reason, mode, first, last, due, closed, {items}, now}
--       | {'unanswered', …}       the same of the batch's last attempt, whose receiver had said that it will say when it
--                                 is done, and has not within its time. It is claimed once more to be buried.
-- As claim_v3, which it may run beside, but for one id. The batch in which messages come again that a `done` has taken
-- back names the batch that was taken back: its id is that one's, with `z`, its own number and the time. Without the time
-- a server that has forgotten the take-back in a restart could give the same id to other messages.
-- Repeatable: the token that started the attempt under way gets the same attempt again.

local now, user = clock(ARGV[1]), ARGV[4]
if fenced(KEYS[1], ARGV[2], ARGV[3], now) then
  return { 'fenced' }
end
local due_key, user_key, list, line, flight = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local u = load_user(user_key)
redis.call('ZCARD', due_key)
redis.call('LLEN', KEYS[7])
local pending, queued, flying = redis.call('LLEN', list), redis.call('LLEN', line), redis.call('LLEN', flight)

local at = next_step(u)
if u.fo == ARGV[5] then
  if u.fs == 'a' and now < u.fu then
    local again = attempt(user_key, flight, now)
    again[1] = u.fw == '!' .. u.fo and 'unanswered' or again[1]
    return again
  end
  -- The attempt of this claim is over: a copy that was long on its way must not start another.
  return at and { 'wait', remaining(at, now) } or { 'none' }
end

local over = u.fs == 'r' or u.fs == 'a' and now >= u.fu
if over and delivered(u) then
  if u.fs == 'a' then
    remember_silence(KEYS[7], user_key, u)
  end
  -- Nothing is left of the batch but the attempt that was under way when it was acknowledged, and that is over. (It
  -- waits for a retry only where a replica of an older release recorded the failure.)
  redis.call('UNLINK', flight)
  clear_flight(user_key, u)
  flying = 0
  at = schedule(due_key, user_key, user, u, now)
elseif over then
  -- An attempt whose time limit has passed is a batch that waits, so a hold counts again. Where it does, the batch is
  -- said to wait: or else the next message would put the attempt's limit, which is past, into the index again.
  at = math.max(at, u.hu)
  if u.fs == 'a' and now < at then
    remember_silence(KEYS[7], user_key, u)
    if answering(u) then
      -- The hold takes nothing away: the attempt's receiver did not say that it was done.
      u.fw = '?' .. u.fo
      redis.call('HSET', user_key, 'fw', u.fw)
    end
    u.fs = 'r'
    redis.call('HSET', user_key, 'fs', 'r')
  end
end
if not at then
  redis.call('ZREM', due_key, user)
  return { 'none' }
end
if now < at then
  redis.call('ZADD', due_key, text(at), user)
  return { 'wait', at - now }
end

-- Move the first `count` pending messages into flight; all of them costs one rename. Returns the stored bytes of
-- those that go on waiting.
local function lift(count)
  if count == pending then
    redis.call('RENAME', list, flight)
    return 0
  end
  local bytes = u.pb
  for from = 0, count - 1, 1000 do
    local page = redis.call('LRANGE', list, from, math.min(from + 999, count - 1))
    for i = 1, #page do
      bytes = bytes - #page[i]
    end
    redis.call('RPUSH', flight, unpack(page))
  end
  redis.call('LTRIM', list, count, -1)
  -- What an older release appended was not counted.
  return math.max(0, bytes)
end

-- The id of the batch that was taken back and whose messages stand first among those that wait.
local function taken_back()
  local place, id = string.match(redis.call('HGET', user_key, 'sv') or '', '^(%S+) (%S+)$')
  if not place then
    return nil
  end
  redis.call('HDEL', user_key, 'sv')
  return place == string.match(redis.call('LINDEX', list, 0), '^%[(%d+,%d+),') and id
end

local function fly(count, first, last, due, reason, half)
  local before = taken_back()
  local bytes = lift(count)
  -- With the batch's number and the time in it: a second copy of a claim, even on a server that has forgotten the
  -- first, could not give one id to two batches.
  local id, closed, mode = ARGV[6] .. string.format('%xt%.0f', u.bseq + 1, now), text(now), ARGV[8]
  if before then
    id = string.format('%sz%xt%s', before, u.bseq + 1, closed)
  elseif half then
    -- A half was closed when the whole was. Its id says which half it is of which batch, and its number.
    id, closed, mode = string.format('%sy%x', half.parent, u.bseq + 1), half.closed, half.mode
  end
  redis.call('HSET', user_key, 'bseq', u.bseq + 1, 'fid', id, 'fseq', u.bseq + 1, 'fn', count, 'fr', reason,
    'fm', mode, 'ff', first, 'fl', last, 'fd', due, 'fc', closed, 'pb', text(bytes))
end

-- What divide_v1 wrote down of the closed batch that begins with the first pending message, if that is a half.
-- What stands before it was claimed by an older release, and is forgotten with it.
local function take_half()
  local halves = redis.call('HGET', user_key, 'hv')
  local place = halves and string.match(redis.call('LINDEX', list, 0), '^%[(%d+,%d+),')
  local half, rest
  for entry in string.gmatch(halves or '', '[^;]+') do
    local at_place, parent, closed, mode = string.match(entry, '^(%S+) (%S+) (%S+) (%S+)$')
    if half then
      rest = rest and rest .. ';' .. entry or entry
    elseif at_place == place then
      half = { parent = parent, closed = closed, mode = mode }
    end
  end
  if half and rest then
    redis.call('HSET', user_key, 'hv', rest)
  elseif half then
    redis.call('HDEL', user_key, 'hv')
  end
  return half
end

assert((flying > 0) == (u.fs ~= false), 'a batch in flight and its messages disagree')
if not u.fs then
  if u.sn > 0 then
    local head = redis.call('LINDEX', line, 0)
    assert(head and queued == u.sn, 'the line and its length disagree')
    if string.sub(head, 1, 1) == 'R' then
      return { 'replay', string.sub(head, 2) }
    end
    local count, first, last, due, reason = string.match(head, '^(%d+),(%d+),(%d+),(%d+),([%a_]+)$')
    count = num(count)
    assert(count > 0 and count <= pending, 'a closed batch is longer than what waits')
    local half = take_half()
    redis.call('LPOP', line)
    fly(count, first, last, due, reason, half)
    u.sn = u.sn - 1
    redis.call('HSET', user_key, 'sn', u.sn)
  else
    assert(u.on == pending and pending > 0, 'the window and its messages disagree')
    fly(u.on, text(u.of), text(u.ol), text(u.od), u.ow > 0 and u.od == u.ow and 'max_wait' or 'quiet')
    redis.call('HSET', user_key, 'on', 0, 'ob', 0)
    u.on = 0
  end
end
-- Of a batch whose receivers never say that they are done there would be no end of attempts: nobody settles those.
local lapsed = answering(u) or u.fs == 'r' and u.fw == '?' .. (u.fo or '')
local unanswered = lapsed and u.fa >= num(ARGV[9])
if u.fs == 'a' and not unanswered then
  -- Its replica was killed, or cut off: nobody else will say that there was this attempt.
  remember_silence(KEYS[7], user_key, u)
end
u.fs, u.fu = 'a', now + num(ARGV[7])
redis.call('HSET', user_key, 'fs', 'a', 'fu', text(u.fu), 'fa', unanswered and u.fa or u.fa + 1, 'fo', ARGV[5])
schedule(due_key, user_key, user, u, now)
local reply = attempt(user_key, flight, now)
if unanswered then
  -- So that a repetition of this claim gets the same.
  redis.call('HSET', user_key, 'fw', '!' .. ARGV[5])
  reply[1] = 'unanswered'
end
return reply
