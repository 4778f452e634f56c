#!lua flags=allow-oom
-- route_open_v1: too many attempts of a route failed, or its probe did. Any replica may call it. A route that is open
-- already stays as it is.
--
-- The hash `routes` has up to three fields of a route, whose values are lines:
--   o:<route>  it is open: since, next probe at, probes granted, ms from a failed probe to the next, why
--   c:<route>  when it was last closed, or resumed
--   p:<route>  it is paused: since, the name of the key that did it, why
-- and the field `names`: of each route that has ever had one of these, with a space behind it.
--
-- KEYS  routes
-- ARGV  now, route, probe (0: it opens), since of the opening that the probe belongs to, ms that the receiver asked for,
--       ms until the first probe, why, channel of all replicas
-- Returns {since, ms until the next probe, 1 if this call opened it} | {} where the probe's opening is over

local function name(route)
  local names = redis.call('HGET', KEYS[1], 'names') or ''
  if not string.find(' ' .. names, ' ' .. route .. ' ', 1, true) then
    redis.call('HSET', KEYS[1], 'names', names .. route .. ' ')
  end
end

local now, field = clock(ARGV[1]), 'o:' .. ARGV[2]
local open = redis.call('HGET', KEYS[1], field) or ''
local since, probe_at, probes, delay, why = string.match(open, '^(%d+)\n(%d+)\n(%d+)\n(%d+)\n(.*)$')
local probe, asked, opened = num(ARGV[3]), num(ARGV[5]), 0
if probe == 0 then
  if not since then
    opened, since, probes, delay, why = 1, text(now), 0, num(ARGV[6]), ARGV[7]
    probe_at = text(now + math.max(delay, asked))
  end
elseif not since or since ~= ARGV[4] then
  return {}
elseif num(probes) == probe then
  probe_at, why = text(now + math.max(num(delay), asked)), ARGV[7]
end
redis.call('HSET', KEYS[1], field, table.concat({ since, probe_at, probes, delay, why }, '\n'))
if opened == 1 then
  name(ARGV[2])
  redis.call('PUBLISH', ARGV[8], 'routes')
end
return { num(since), math.max(0, num(probe_at) - now), opened }
