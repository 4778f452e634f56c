#!lua flags=no-writes
-- routes_v1: which routes are open or paused, and which were closed lately.
--
-- KEYS  routes, see route_open_v1
-- ARGV  now
-- Returns now, then of each route its name and its fields o, c and p, '' where there is none

local reply = { clock(ARGV[1]) }
for route in string.gmatch(redis.call('HGET', KEYS[1], 'names') or '', '%S+') do
  local kept = redis.call('HMGET', KEYS[1], 'o:' .. route, 'c:' .. route, 'p:' .. route)
  reply[#reply + 1] = { route, kept[1] or '', kept[2] or '', kept[3] or '' }
end
return reply
