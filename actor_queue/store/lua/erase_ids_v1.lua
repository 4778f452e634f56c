#!lua flags=allow-oom
-- with prelude_v2
-- erase_ids_v1: forget the ids of a user's messages. No list of them is kept, because it would double what every message
-- costs, so all keys of the server are looked through, a part at each call.
--
-- KEYS  due, which only says where the user's keys are
-- ARGV  SCAN's cursor, the pattern of the ids, how many keys to look at
-- Returns {SCAN's next cursor, ids forgotten}

local found = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
for _, key in ipairs(found[2]) do
  redis.call('UNLINK', key)
end
return { found[1], #found[2] }
