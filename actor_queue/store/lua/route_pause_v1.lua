#!lua flags=allow-oom
-- route_pause_v1: attempt nothing on a route until somebody resumes it. Any replica may call it.
--
-- KEYS  routes, see route_open_v1
-- ARGV  now, route, the name of the key that did it, why, channel of all replicas
-- Returns {1} | {0} where it was paused before: then since when, and by whom, stays

local function name(route)
  local names = redis.call('HGET', KEYS[1], 'names') or ''
  if not string.find(' ' .. names, ' ' .. route .. ' ', 1, true) then
    redis.call('HSET', KEYS[1], 'names', names .. route .. ' ')
  end
end

local now, field = clock(ARGV[1]), 'p:' .. ARGV[2]
local new = redis.call('HSETNX', KEYS[1], field, table.concat({ text(now), ARGV[3], ARGV[4] }, '\n'))
name(ARGV[2])
redis.call('PUBLISH', ARGV[5], 'routes')
return { new }
