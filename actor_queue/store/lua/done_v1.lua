#!lua flags=allow-oom
-- with prelude_v3
-- done_v1: the receiver is done with the batch, or, where it asks for that, only if nothing newer waits. If something
-- does, the batch is taken back: its messages stand in front of the newer ones again, as one batch with them, which
-- is due when the newer ones are. One script decides, so that no message comes between the look and the end. Called by
-- any replica.
--
-- KEYS  lease, due, u, p, s, f, h
-- ARGV  now, user, batch id, the attempt's token, until when the address is good, '1' if only the latest may be done,
--       reason and facts of the history entry as JSON, caller, channel, shard, times, each, take-backs in a row
-- Returns {'done'|'taken_back', newer messages, ms until the next step or -1, attempt, messages of the batch,
--          1 if an earlier attempt had delivered it, ms since the 202}
--       | {'again', 'done'|'taken_back'|'failed', newer messages then} | {'over'}
-- Repeatable: what was answered last is kept with the user.
--
-- The batch is joined with the first closed batch of the line, behind queued replays, or with the open window. So that one
-- may have more messages, and more bytes, than a batch may otherwise have: by those of the batch that was taken back. A
-- window's bytes count, as in append_v2, with `times` and `each`. The time after which it goes whatever happens counts
-- from the newer messages. An older release may claim it, under an id that does not say what it supersedes.

local now, user_key, list, line, flight = clock(ARGV[1]), KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local u = load_user(user_key)
local state, what, newer = answer_state(user_key, u, ARGV[3], ARGV[4], ARGV[5], now)
if state ~= 'open' then
  return state == 'again' and { 'again', what, newer } or { 'over' }
end
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[7])
newer = newer_messages(user_key, list, line, u)
local count = redis.call('LLEN', flight)
assert(count > 0, 'a batch in flight without messages')
local known, number, since = delivered(u), u.fa, answering(u) and u.fws or now

-- The messages of the batch in front of what waits, in pages: they may be many. Returns their bytes.
local function put_back()
  local bytes, last = 0, count - 1
  while last >= 0 do
    local first = math.max(0, last - 999)
    local page = redis.call('LRANGE', flight, first, last)
    local reversed = {}
    for i = #page, 1, -1 do
      reversed[#reversed + 1] = page[i]
      bytes = bytes + #page[i]
    end
    redis.call('LPUSH', list, unpack(reversed))
    last = first - 1
  end
  return bytes
end

-- The halves that wait, without one whose first message is this.
local function without_half(place)
  local rest = {}
  for entry in string.gmatch(redis.call('HGET', user_key, 'hv') or '', '[^;]+') do
    if string.match(entry, '^%S+') ~= place then
      rest[#rest + 1] = entry
    end
  end
  if #rest > 0 then
    redis.call('HSET', user_key, 'hv', table.concat(rest, ';'))
  else
    redis.call('HDEL', user_key, 'hv')
  end
end

local function take_back()
  local first_at = redis.call('HGET', user_key, 'ff')
  local place = string.match(redis.call('LINDEX', flight, 0), '^%[(%d+,%d+),')
  if u.sn > u.rn then
    local entry = redis.call('LINDEX', line, u.rn)
    local had, rest = string.match(entry, '^(%d+),%d+(,.+)$')
    assert(had, 'the line holds no closed batch')
    without_half(string.match(redis.call('LINDEX', list, 0), '^%[(%d+,%d+),'))
    redis.call('LSET', line, u.rn, string.format('%d,%s%s', num(had) + count, first_at, rest))
    redis.call('HSET', user_key, 'pb', text(u.pb + put_back()))
  else
    assert(u.on > 0, 'newer messages in no window')
    local bytes = put_back()
    u.on, u.of = u.on + count, num(first_at)
    redis.call('HSET', user_key, 'on', u.on, 'ob', text(u.ob + num(ARGV[11]) * bytes + num(ARGV[12]) * count),
      'of', first_at, 'pb', text(u.pb + bytes))
  end
  redis.call('HSET', user_key, 'sv', place .. ' ' .. u.fid)
end

-- Each time that a batch is taken back puts a `z` into the id of the next one.
local _, taken = string.gsub(u.fid, 'z', '')
local back = ARGV[6] == '1' and newer > 0 and not known and taken < num(ARGV[13])
what = back and 'taken_back' or 'done'
if back then
  local joins = u.sn > u.rn and string.match(redis.call('LINDEX', line, u.rn) or '', '^%d+,%d+,')
  assert(joins or u.sn == u.rn and u.on > 0, 'what is newer stands in no batch and in no window')
end
keep_answer(user_key, u, what, newer)
remember(KEYS[7], now, string.format('"%s",%d,"%s",%d,202,%s', u.fid, u.fa, back and 'taken_back' or 'delivered', count,
  ARGV[7]))
if back then
  take_back()
end
redis.call('UNLINK', flight)
clear_flight(user_key, u)
local owner = owner_besides(KEYS[1], ARGV[8], now)
local at = schedule_and_tell(KEYS[2], user_key, ARGV[2], u, now, owner, ARGV[9], ARGV[10])
return { what, newer, remaining(at, now), number, count, known and 1 or 0, math.max(0, now - since) }
