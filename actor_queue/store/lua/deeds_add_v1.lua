#!lua
-- with prelude_v2
-- deeds_add_v1: note what somebody did by hand, in the list of a user or in that of the namespace. Called by any replica
-- after it was done.
--
-- KEYS  by or deeds
-- ARGV  now, the deed as JSON without its first element, how many are kept, ms until the list expires
-- Returns 1

redis.call('LPUSH', KEYS[1], '[' .. text(clock(ARGV[1])) .. ',' .. ARGV[2])
redis.call('LTRIM', KEYS[1], 0, num(ARGV[3]) - 1)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
