#!lua flags=allow-oom
-- route_resume_v1: end a pause; an open route gets its next probe at once. Any replica may call it.
--
-- KEYS  routes, see route_open_v1
-- ARGV  now, route, channel of all replicas
-- Returns {1 if it was paused, 1 if it is open}

local now, field = clock(ARGV[1]), 'o:' .. ARGV[2]
local paused = redis.call('HDEL', KEYS[1], 'p:' .. ARGV[2])
local open = redis.call('HGET', KEYS[1], field) or ''
local since, _, probes, delay, why = string.match(open, '^(%d+)\n(%d+)\n(%d+)\n(%d+)\n(.*)$')
if since then
  redis.call('HSET', KEYS[1], field, table.concat({ since, text(now), probes, delay, why }, '\n'))
elseif paused == 1 then
  redis.call('HSET', KEYS[1], 'c:' .. ARGV[2], text(now))
end
redis.call('PUBLISH', ARGV[3], 'routes')
return { paused, since and 1 or 0 }
