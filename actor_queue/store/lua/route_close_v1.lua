#!lua flags=allow-oom
-- route_close_v1: the probe of an open route was answered. Called by the replica that sent it.
--
-- KEYS  routes, see route_open_v1
-- ARGV  now, route, since of the opening that the probe belongs to, channel of all replicas
-- Returns {1, now} | {0} where that opening is over

local now, field = clock(ARGV[1]), 'o:' .. ARGV[2]
local since = string.match(redis.call('HGET', KEYS[1], field) or '', '^(%d+)\n')
if since ~= ARGV[3] then
  return { 0 }
end
redis.call('HDEL', KEYS[1], field)
redis.call('HSET', KEYS[1], 'c:' .. ARGV[2], text(now))
redis.call('PUBLISH', ARGV[4], 'routes')
return { 1, now }
