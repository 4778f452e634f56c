#!lua
-- with nothing
-- alias_v1: to which conversation an event belongs whose sender a platform names in two ways. One name hides the other
-- (WhatsApp's `@lid` hides a phone): the hidden name is the alias, and once an event has told both, it leads to the other
-- conversation, the target. Called by any replica before it appends. All keys are in the slot of the alias, because an
-- event that tells the alias alone says nothing of where the target lies.
--
-- KEYS  u and to of the alias; with a third key the event is about one message: its id as the alias remembers it
-- ARGV  now, the target that the event tells or '', '1' when a message is going to be appended,
--       '1' when the link is written with the target (alias_of_v1), ms a link is kept, ms an id is remembered
-- Returns {'tell'}                            nothing is done: let alias_of_v1 note the link, and ask again
--       | {place, target or '', live, held, settled}
--           place    0: the alias's own conversation, 1: the target's
--           live     1: something waits or is under way under the alias
--           held     ms for which the alias is still held
--           settled  1: for MARGIN_MS at least, whatever comes under the alias belongs to the target
--
-- `to` is "until:target". A message of the alias's own may be remembered in its conversation up to `until`, so until then
-- a message that goes to the target leaves its id with the alias as `e`. Whichever of the two is first, the append to
-- the alias or the decision for the target, the other one finds the id: no message is in both conversations.
--
-- Nothing that waits is moved. While something waits under the alias, what tells the alias alone goes on going there,
-- so that it does not overtake.

local DAY_MS, MARGIN_MS = 86400000, 600000
local call, max = redis.call, math.max
local now, told = tonumber(ARGV[1]), ARGV[2]
if not now then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local keep_ms, remember_ms = tonumber(ARGV[5]), tonumber(ARGV[6])

local before, target = string.match(call('GET', KEYS[2]) or '', '^(%d+):(.*)$')
local linked = told ~= '' and target == told
if told ~= '' and ARGV[4] ~= '1' and not (linked and call('PTTL', KEYS[2]) > keep_ms - DAY_MS) then
  return { 'tell' }
end
local u = call('HMGET', KEYS[1], 'fs', 'sn', 'on', 'hu')
local live = u[1] and true or (tonumber(u[2]) or 0) > 0 or (tonumber(u[3]) or 0) > 0
local held = max(0, (tonumber(u[4]) or 0) - now)
local seen = KEYS[3] and call('GET', KEYS[3])

local ends = tonumber(before) or 0
if not before and call('EXISTS', KEYS[1]) == 1 then
  -- The alias had a conversation before anybody asked.
  ends = now + remember_ms
end
target = told ~= '' and told or target or ''
local here = target == '' or (seen ~= 'e' and (seen or (told == '' and live)))
if here and ARGV[3] == '1' and ends < now + remember_ms + MARGIN_MS then
  -- The message is appended a moment from now, or for some minutes by whoever keeps this answer.
  ends = now + remember_ms + 2 * MARGIN_MS
end
local settled = target ~= '' and not live and held == 0 and ends <= now
  and (ARGV[4] == '1' or call('PTTL', KEYS[2]) > MARGIN_MS)
if not here and ARGV[3] == '1' and not settled and not seen then
  call('SET', KEYS[3], 'e', 'PX', ARGV[6])
end
local kept = string.format('%.0f:', ends) .. target
if target ~= '' and ARGV[4] == '1' then
  call('SET', KEYS[2], kept, 'PX', string.format('%.0f', max(keep_ms, ends - now)))
elseif ends > (tonumber(before) or 0) then
  call('SET', KEYS[2], kept, 'PX', string.format('%.0f', max(ends - now, call('PTTL', KEYS[2]))))
end
return { here and 0 or 1, target, live and 1 or 0, held, settled and 1 or 0 }
