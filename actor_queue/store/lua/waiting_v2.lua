#!lua flags=no-writes
-- with prelude_v3
-- travels with rest
-- waiting_v2: the messages of a user that are kept now, with their texts: of the batch under way, then those that wait
-- for a batch. Reads only. Called by any replica, when somebody asks to see what was written. As waiting_v1, and it says
-- of the batch under way what its body is made of.
--
-- KEYS  p, f, u
-- ARGV  now, bytes of messages to answer with at the most
-- Returns {messages under way, messages waiting, {items, oldest first}, {id, seq, reason, mode, first, last, due, closed}
--         of the batch under way, or {} where there is none, or it was delivered and only its user's turn is not over}

local waiting, flying = redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2])
local items, room = {}, num(ARGV[2])

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

take(KEYS[2], flying)
take(KEYS[1], waiting)
local facts, u = {}, load_user(KEYS[3])
if flying > 0 and (u.fs == 'a' or u.fs == 'r') and not delivered(u) then
  local f = redis.call('HMGET', KEYS[3], 'fid', 'fseq', 'fr', 'fm', 'ff', 'fl', 'fd', 'fc')
  facts = { f[1], num(f[2]), f[3], f[4], num(f[5]), num(f[6]), num(f[7]), num(f[8]) }
end
return { flying, waiting, items, facts }
