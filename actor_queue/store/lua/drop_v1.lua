#!lua flags=allow-oom
-- drop_v1: forget what waits for a user: the window, the line, and a batch that waits for its retry. An attempt
-- under way cannot be called back; a queued replay goes back to being a dead letter. Called by any replica.
--
-- KEYS  due, u, p, s, f
-- ARGV  now, user, bytes of messages to answer with at the most
-- Returns {messages dropped, id of the dropped batch or '', {items, oldest first}}

local now, user_key = clock(ARGV[1]), KEYS[2]
local u = load_user(user_key)
redis.call('ZCARD', KEYS[1])
redis.call('LLEN', KEYS[4])
local waiting, flying = redis.call('LLEN', KEYS[3]), redis.call('LLEN', KEYS[5])
local items, room, batch, dropped = {}, num(ARGV[3]), '', waiting

-- In small pages: how long a message is, is known only when it is read.
local function take(key, count)
  for from = 0, count - 1, 20 do
    for _, item in ipairs(redis.call('LRANGE', key, from, from + 19)) do
      if #item > room then
        room = 0
        return
      end
      room = room - #item
      items[#items + 1] = item
    end
  end
end

if u.fs == 'r' then
  batch, dropped = u.fid, dropped + flying
  take(KEYS[5], flying)
end
take(KEYS[3], waiting)
if batch ~= '' then
  redis.call('UNLINK', KEYS[5])
  clear_flight(user_key, u)
end
redis.call('UNLINK', KEYS[3], KEYS[4])
if redis.call('EXISTS', user_key) == 1 then
  u.on, u.ob, u.sn, u.rn = 0, 0, 0, 0
  redis.call('HSET', user_key, 'on', 0, 'ob', 0, 'sn', 0, 'rn', 0)
  schedule(KEYS[1], user_key, ARGV[2], u, now)
end
return { dropped, batch, items }
