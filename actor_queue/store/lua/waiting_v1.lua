#!lua flags=no-writes
-- waiting_v1: the messages of a user that are kept now, with their texts: of the batch under way, then those that wait
-- for a batch. Reads only. Called by any replica, when somebody asks to see what was written.
--
-- KEYS  p, f
-- ARGV  now, bytes of messages to answer with at the most
-- Returns {messages under way, messages waiting, {items, oldest first}}

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
return { flying, waiting, items }
