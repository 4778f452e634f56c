#!lua flags=no-writes
-- with prelude_v2
-- attempts_page_v1: a page of the history of the whole namespace, newest first. Reads only.
--
-- KEYS  attempts
-- ARGV  the number to go on behind ('' = from the newest), limit
-- Returns {number of the first line, {lines}}

local newest = num(string.match(redis.call('LINDEX', KEYS[1], 0) or '', '^%[(%d+)'))
local from = ARGV[1] == '' and newest or math.min(newest, num(ARGV[1]) - 1)
local start = newest - from
return { from, redis.call('LRANGE', KEYS[1], start, start + num(ARGV[2]) - 1) }
