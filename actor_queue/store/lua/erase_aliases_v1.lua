#!lua flags=allow-oom
-- with nothing
-- erase_aliases_v1: forget what is kept of the aliases of one conversation. Called by any replica for a user who is
-- erased: first to read, and once the links' other ends are gone, to remove.
--
-- KEYS  to and of, both the conversation's own
-- ARGV  '1' to remove
-- Returns {the conversation to which it leads or '', {the aliases that lead to it}}

local found = { string.match(redis.call('GET', KEYS[1]) or '', '^%d+:(.*)$') or '', redis.call('ZRANGE', KEYS[2], 0, -1) }
if ARGV[1] == '1' then
  redis.call('UNLINK', KEYS[1], KEYS[2])
end
return found
