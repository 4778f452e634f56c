#!lua flags=allow-oom
-- route_probe_v1: may this replica send the probe of an open route? One gets it when its time has come. The next time
-- is fixed at once, so that a replica that dies with a probe keeps nobody from the next one.
--
-- KEYS  routes, see route_open_v1
-- ARGV  now, route, ms that the probe may take, the longest delay between probes in ms
-- Returns {'probe', its number, since} | {'wait', ms} | {'closed'} | {'paused'}

local now, field = clock(ARGV[1]), 'o:' .. ARGV[2]
local open = redis.call('HGET', KEYS[1], field) or ''
local since, probe_at, probes, delay, why = string.match(open, '^(%d+)\n(%d+)\n(%d+)\n(%d+)\n(.*)$')
if not since then
  return { 'closed' }
end
if redis.call('HGET', KEYS[1], 'p:' .. ARGV[2]) then
  return { 'paused' }
end
if now < num(probe_at) then
  return { 'wait', num(probe_at) - now }
end
probes, delay = num(probes) + 1, math.min(2 * num(delay), num(ARGV[4]))
probe_at = now + math.max(delay, num(ARGV[3]))
redis.call('HSET', KEYS[1], field, table.concat({ since, text(probe_at), probes, delay, why }, '\n'))
return { 'probe', probes, num(since) }
