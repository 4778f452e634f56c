-- prelude_v3: put in front of every script that says `-- with prelude_v3`. As prelude_v2, which it may run beside,
-- and it knows of an attempt whose receiver answered 202 and will say later that it is done (`fw`).
--
-- A user's hash (`u:`). Times are ms of the server's clock; an absent number is 0.
--   seq, bseq      last message and last batch number of this user
--   on, ob         messages and bytes in the open window
--   of, ol, ot     its first and last append, the last message's ttl
--   ow, od         its maximum-wait deadline (0 = none) and when it closes
--   sn, sd, rn     length of the line `s:`, when its head is due, queued replays at its head
--   hu             held until
--   fs             batch in flight: 'a' an attempt is under way until fu, 'r' it waits for a retry at fu
--   fid fseq fn fr fm ff fl fd fc   its id, number, messages, reason, payload mode, first, last, due, closed
--   fa, fo         attempts started, token of the last claim that started one (kept when the batch is done)
--   fk             the batch is delivered, which was said while the attempt of this token was under way. The user's turn
--                  ends with that attempt. It counts only while it equals `fo`: scripts of prelude_v1 leave it behind.
--   fw, fws        the receiver of the attempt of this token has until `fu` to say that it is done, and since when. They
--                  count only while `fw` equals `fo`: older scripts leave them behind. To those it is an attempt under
--                  way, whose limit is `fu`, and what they do when that has passed is what has to be done.
--   an             the last answer that was given: "batch id, token, what it was, how many newer messages waited"
--   sv             of a batch that was taken back: "its first message's seq and time, its id", for the claim of the batch
--                  in which its messages come again. Counts only for the batch that begins with that message.
--   pb             stored bytes of what waits, see append_v2
--   hv             of the halves in the line, in its order: "first message's seq and time, divided batch, when that was
--                  closed, payload mode", separated by spaces, and by `;` from each other
-- The line `s:` holds closed batches not yet claimed, "count,first,last,due,reason", and "R<id>" for a replay.

-- A resting user's counters and history are remembered this long.
local REST_MS = 86400000
local HISTORY_MAX = 20
-- No owner has a timer for what is due later than this; its sweep finds the user in time.
local HORIZON_MS = 120000

local function num(value)
  return tonumber(value) or 0
end

-- The given time in virtual-time tests; in production nothing is given and the server's clock decides.
local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return num(time[1]) * 1000 + math.floor(num(time[2]) / 1000)
end

local function text(ms)
  return string.format('%.0f', ms)
end

-- Equality, never order: after a failover an epoch may be issued twice, a nonce never is.
local function fenced(lease_key, epoch, nonce, now)
  local lease = redis.call('HMGET', lease_key, 'epoch', 'nonce', 'until')
  return lease[1] ~= epoch or lease[2] ~= nonce or num(lease[3]) <= now
end

-- An owner that gave its lease back may still say what came of the attempts it had under way: each is
-- recognised by its batch's id and its number, so nobody else's is touched.
local function estranged(lease_key, epoch, nonce, now)
  if not fenced(lease_key, epoch, nonce, now) then
    return false
  end
  local last = redis.call('HMGET', lease_key, 'last_epoch', 'last_nonce')
  return last[1] ~= epoch or last[2] ~= nonce
end

local function load_user(key)
  local h = redis.call('HMGET', key, 'seq', 'on', 'ob', 'of', 'ol', 'ot', 'ow', 'od',
    'sn', 'sd', 'rn', 'hu', 'fs', 'fu', 'fid', 'fa', 'fo', 'bseq', 'fk', 'pb', 'fw', 'fws')
  return {
    seq = num(h[1]), on = num(h[2]), ob = num(h[3]), of = num(h[4]), ol = num(h[5]), ot = num(h[6]),
    ow = num(h[7]), od = num(h[8]), sn = num(h[9]), sd = num(h[10]), rn = num(h[11]), hu = num(h[12]),
    fs = h[13], fu = num(h[14]), fid = h[15], fa = num(h[16]), fo = h[17], bseq = num(h[18]), fk = h[19],
    pb = num(h[20]), fw = h[21], fws = num(h[22]),
  }
end

-- Whether the batch in flight was delivered: only its user's turn is not over yet.
local function delivered(u)
  return u.fs and u.fk and u.fk == u.fo
end

-- Whether the attempt in flight is with a receiver that will say later that it is done.
local function answering(u)
  return u.fs == 'a' and u.fw and u.fw == u.fo
end

-- When this user's next step is due; nil when nothing waits. A hold delays everything but an attempt under way.
local function next_step(u)
  if u.fs == 'a' then
    return u.fu
  end
  local at
  if u.fs == 'r' then
    at = u.fu
  elseif u.sn > 0 then
    at = u.sd
  elseif u.on > 0 then
    at = u.od
  else
    return nil
  end
  return math.max(at, u.hu)
end

-- Bring the timer index in line with the user; a user with nothing waiting is forgotten after a rest.
local function schedule(due_key, user_key, user, u, now)
  local at = next_step(u)
  if at then
    redis.call('ZADD', due_key, text(at), user)
    redis.call('PERSIST', user_key)
  else
    redis.call('ZREM', due_key, user)
    redis.call('PEXPIRE', user_key, text(math.max(REST_MS, u.hu - now)))
  end
  return at
end

-- Whoever owns the shard, if it is not the caller.
local function owner_besides(lease_key, caller, now)
  local lease = redis.call('HMGET', lease_key, 'owner', 'until')
  return lease[1] and lease[1] ~= caller and num(lease[2]) > now and lease[1]
end

-- As `schedule`, and tell the owner if that is somebody else, would set a timer, and cannot know of a step so soon.
-- A lost nudge costs the delay of the owner's sweep, so nobody waits for it.
local function schedule_and_tell(due_key, user_key, user, u, now, owner, channel, shard)
  local before = owner and redis.call('ZSCORE', due_key, user)
  local at = schedule(due_key, user_key, user, u, now)
  if owner and at and at - now <= HORIZON_MS and (not before or at < num(before)) then
    redis.call('PUBLISH', channel .. owner, shard .. ':' .. text(math.max(0, at - now)) .. ':' .. user)
  end
  return at
end

-- The reply's "how long from now": -1 when there is no next step.
local function remaining(at, now)
  if not at then
    return -1
  end
  return math.max(0, at - now)
end

local function seal(line_key, u, count, due, reason)
  redis.call('RPUSH', line_key, string.format('%d,%.0f,%.0f,%.0f,%s', count, u.of, u.ol, due, reason))
end

local function clear_flight(user_key, u)
  redis.call('HDEL', user_key, 'fs', 'fu', 'fid', 'fseq', 'fn', 'fr', 'fm', 'ff', 'fl', 'fd', 'fc', 'fa', 'fk', 'fw', 'fws')
  u.fs, u.fk, u.fw, u.fa = false, false, false, 0
end

-- One line of a user's recent history: [at, ...what the caller says].
local function remember(history_key, now, entry)
  redis.call('LPUSH', history_key, '[' .. text(now) .. ',' .. entry .. ']')
  redis.call('LTRIM', history_key, 0, HISTORY_MAX - 1)
  redis.call('PEXPIRE', history_key, REST_MS)
end

-- One line of history for the attempt under way whose limit has passed: without a word from its replica, which its
-- claim's token names, or without a word from its receiver.
local function remember_silence(history_key, user_key, u)
  local by = string.match(u.fo or '', '^([%w_.-]+)/') or ''
  local messages = num(redis.call('HGET', user_key, 'fn'))
  local what, status, why = 'unknown', 'null', 'the replica did not report within the limit'
  if answering(u) then
    what, status, why = delivered(u) and 'failed' or 'retry', '202', 'the receiver did not say within its time that it is done'
  end
  remember(history_key, u.fu, string.format('"%s",%d,"%s",%d,%s,"%s\\n{\\"by\\":\\"%s\\"}"', u.fid, u.fa, what, messages,
    status, why, by))
end

-- What a claim hands over: the attempt, the batch's fixed facts, its items, then the time.
local function attempt(user_key, flight_key, now)
  local f = redis.call('HMGET', user_key, 'fa', 'fu', 'fid', 'fseq', 'fr', 'fm', 'ff', 'fl', 'fd', 'fc')
  local reply = { 'attempt', num(f[1]), num(f[2]) - now, f[3], num(f[4]), f[5], f[6], num(f[7]), num(f[8]), num(f[9]), num(f[10]) }
  reply[#reply + 1] = redis.call('LRANGE', flight_key, 0, -1)
  reply[#reply + 1] = now
  return reply
end

-- Answers: what a receiver says of the batch that it has answered 202 to.

-- Which batch a call under an answer's address is about: 'open' while its receiver may speak, which it may before its 202
-- has been recorded: only who was sent that attempt has the address; 'again', what was answered and how many newer messages waited then, where its answer was the last one that this user had; else 'over'.
local function answer_state(user_key, u, batch_id, token, expires_at, now)
  if u.fs == 'a' and u.fid == batch_id and u.fo == token and now < u.fu and now < num(expires_at) then
    return 'open'
  end
  local last = redis.call('HGET', user_key, 'an') or ''
  local id, of, what, newer = string.match(last, '^(%S+) (%S+) (%S+) (%d+)$')
  if id == batch_id and of == token and now < num(expires_at) then
    return 'again', what, num(newer)
  end
  return 'over'
end

local function keep_answer(user_key, u, what, newer)
  redis.call('HSET', user_key, 'an', string.format('%s %s %s %d', u.fid, u.fo, what, newer))
end

-- How many messages came after those of the batch in flight. A half that waits is older than what was written since.
local function newer_messages(user_key, list_key, line_key, u)
  local waiting = redis.call('LLEN', list_key)
  local halves = u.sn > u.rn and waiting > 0 and redis.call('HGET', user_key, 'hv')
  if not halves then
    return waiting
  end
  local at = 0
  for i = u.rn, u.sn - 1 do
    local place = string.match(redis.call('LINDEX', list_key, at) or '', '^%[(%d+,%d+),')
    if not place or not string.find(';' .. halves, ';' .. place .. ' ', 1, true) then
      break
    end
    at = at + num(string.match(redis.call('LINDEX', line_key, i), '^(%d+),'))
  end
  return math.max(0, waiting - at)
end
