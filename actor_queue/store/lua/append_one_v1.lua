#!lua
-- with nothing
-- append_one_v1: keep one message, reset its user's window. Called by any replica. It does what append_v2 does with a
-- call that has one message, in half of the server's time, which is most of what a message costs there: no table and
-- no function is made, the fields that it needs are read, and those that change are written.
--
-- KEYS  lease, due, u, p, s, and the message's id if the sender named it
-- ARGV  now, caller, channel, shard, max_pending, remember_ms, max_messages, max_bytes, frame, times, each,
--       max_wait_ms, max_pending_bytes, user, ttl_ms, payload
--       What they mean stands at append_v2, and what the fields of `u` mean in its prelude.
-- Returns now, what (0 accepted, 1 duplicate, 2 too many messages wait, 3 too many bytes), messages waiting after it,
--       ms until they close, ms until the user's next step (-1: none).
-- Repeatable for a named message: the second time it is a duplicate.
--
-- A script is not rolled back. Everything that can fail is read first, but for the timer index, which is the first
-- thing to be written: a value of a wrong type at any of the keys ends the script when nothing has been written.
-- Numbers are handed over as they are: a whole number up to 2^53 arrives with all its digits.

local call, max = redis.call, math.max
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local lease = call('HMGET', KEYS[1], 'owner', 'until')
local owner = lease[1] and lease[1] ~= ARGV[2] and (tonumber(lease[2]) or 0) > now and lease[1]

local u = call('HMGET', KEYS[3], 'seq', 'on', 'ob', 'of', 'ol', 'ow', 'od', 'sn', 'sd', 'hu', 'fs', 'fu', 'pb')
local seq, on, ob, of, ol = tonumber(u[1]) or 0, tonumber(u[2]) or 0, tonumber(u[3]) or 0, tonumber(u[4]) or 0, tonumber(u[5]) or 0
local ow, od, sn, sd = tonumber(u[6]) or 0, tonumber(u[7]) or 0, tonumber(u[8]) or 0, tonumber(u[9]) or 0
local hu, fs, fu, pb = tonumber(u[10]) or 0, u[11], tonumber(u[12]) or 0, tonumber(u[13]) or 0
local pending = call('LLEN', KEYS[4])
if pending == 0 then
  pb = 0
end
local rested = not fs and sn == 0 and on == 0
-- A clock that steps back must not let a later message be due, or look, earlier than its predecessor.
local at = max(now, ol)
local item = string.format('[%.0f,%.0f,', seq + 1, at) .. ARGV[16] .. ']'
local bytes = #item

local what = 0
if KEYS[6] and call('EXISTS', KEYS[6]) == 1 then
  what = 1
elseif pending >= tonumber(ARGV[5]) then
  what = 2
elseif pending > 0 and pb + bytes > tonumber(ARGV[13]) then
  what = 3
end

local opened, first, second
if what == 0 then
  local size, max_bytes = tonumber(ARGV[10]) * bytes + tonumber(ARGV[11]), tonumber(ARGV[8])
  if on > 0 and ob + size > max_bytes then
    first = string.format('%d,%.0f,%.0f,%.0f,max_bytes', on, of, ol, at)
    sd = sn == 0 and at or sd
    sn, on = sn + 1, 0
  end
  local ttl, max_wait = tonumber(ARGV[15]), tonumber(ARGV[12])
  if on == 0 then
    opened, of, ob = true, at, tonumber(ARGV[9])
    ow = max_wait > 0 and at + max_wait or 0
  end
  seq, on, ob, pb, pending = seq + 1, on + 1, ob + size, pb + bytes, pending + 1
  od = at + ttl
  if ow > 0 and od > ow then
    od = ow
  end
  local reason = on >= tonumber(ARGV[7]) and 'max_messages' or ob >= max_bytes and 'max_bytes'
  if reason then
    second = string.format('%d,%.0f,%.0f,%.0f,', on, of, at, at) .. reason
    sd = sn == 0 and at or sd
    sn, on, ob = sn + 1, 0, 0
  end
  if first or second then
    call('LLEN', KEYS[5])
  end
end

-- An attempt under way has its own time; a hold delays everything else.
local due = fs == 'a' and fu
if not due and not rested or what == 0 and not due then
  due = max(fs == 'r' and fu or sn > 0 and sd or od, hu)
end
if what == 0 then
  local user = ARGV[14]
  local before = owner and call('ZSCORE', KEYS[2], user)
  call('ZADD', KEYS[2], due, user)
  call('RPUSH', KEYS[4], item)
  if first then
    call('RPUSH', KEYS[5], first)
  end
  if second then
    call('RPUSH', KEYS[5], second)
  end
  if opened or second then
    call('HSET', KEYS[3], 'seq', seq, 'on', on, 'ob', ob, 'of', of, 'ol', at, 'ot', ARGV[15], 'ow', ow, 'od', od,
      'sn', sn, 'sd', sd, 'pb', pb)
  else
    call('HSET', KEYS[3], 'seq', seq, 'on', on, 'ob', ob, 'ol', at, 'ot', ARGV[15], 'od', od, 'pb', pb)
  end
  if rested then
    -- Only while nothing of a user waits has the key a time to live.
    call('PERSIST', KEYS[3])
  end
  if KEYS[6] then
    call('SET', KEYS[6], '1', 'PX', ARGV[6])
  end
  -- No owner has a timer for what is due later than two minutes from now; its sweep finds the user in time.
  if owner and due - at <= 120000 and (not before or due < tonumber(before)) then
    call('PUBLISH', ARGV[3] .. owner, ARGV[4] .. string.format(':%.0f:', max(0, due - at)) .. user)
  end
end
return { now, what, pending, max(0, (on == 0 and hu or max(od, hu)) - at), due and max(0, due - at) or -1 }
