#!lua flags=no-writes
-- dead_letter_v2: one dead letter, with its messages when asked. Reads only.
--
-- KEYS  d, di
-- ARGV  1 with the messages, 0 without
-- Returns {} when there is none, else {user, at, attempts, why, messages, seq, reason, mode, first, last, due, closed, more, {items}}
--       `more`: what is known of the last attempt as JSON, nil where a replica of the first release buried it

local d = redis.call('HMGET', KEYS[1], 'user', 'at', 'fa', 'why', 'fn', 'fseq', 'fr', 'fm', 'ff', 'fl', 'fd', 'fc', 'more')
if not d[1] then
  return {}
end
d[14] = ARGV[1] == '1' and redis.call('LRANGE', KEYS[2], 0, -1) or {}
return d
