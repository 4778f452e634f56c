#!lua flags=no-writes
-- with nothing
-- travels with rest
-- waiting_by_route_v1: how many of the conversations at some places of a shard's timer index are each route's. Reads only.
--
-- KEYS  due
-- ARGV  the first place, how many places
-- Returns how many were looked at, then a flat list: route, conversations, …

local counts, page = {}, redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[1] + ARGV[2] - 1)
for _, member in ipairs(page) do
  local route = string.match(member, '^\255([^\255]+)\255') or 'default'
  counts[route] = (counts[route] or 0) + 1
end
local reply = { #page }
for route, count in pairs(counts) do
  reply[#reply + 1], reply[#reply + 2] = route, count
end
return reply
