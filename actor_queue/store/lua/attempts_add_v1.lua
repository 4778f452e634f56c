#!lua
-- with prelude_v2
-- attempts_add_v1: remember attempts in the history of the whole namespace, and forget the oldest. Called by the
-- replica that made them, after they were settled. Nothing waits for it, and a full server refuses it.
--
-- KEYS  attempts, erased
-- ARGV  now, how many are kept, ms until the whole list expires, then for each attempt, oldest first: ms since it ended,
--       its user's hash, its batch's id, its line without the first two elements
-- Returns how many were remembered. A line is [number in the list, when it ended, the rest as given]; the numbers
--       of a list are one apart, so a number says where its line stands.
-- Not repeatable: they would be there twice.
--
-- What erase_v1 is told to erase does not come back: `erased` says of a user's hash, or of a batch, until when its
-- attempts ended that nobody may remember.

local now, erased = clock(ARGV[1]), redis.call('EXISTS', KEYS[2]) == 1
local number = num(string.match(redis.call('LINDEX', KEYS[1], 0) or '', '^%[(%d+)'))
local lines = {}
for i = 4, #ARGV, 4 do
  local at, known = now - num(ARGV[i]), false
  for k = 1, 2 do
    local till = erased and redis.call('ZSCORE', KEYS[2], ARGV[i + k])
    known = known or till and at <= num(till)
  end
  if not known then
    number = number + 1
    lines[#lines + 1] = '[' .. text(number) .. ',' .. text(at) .. ',' .. ARGV[i + 3]
  end
end
if #lines > 0 then
  redis.call('LPUSH', KEYS[1], unpack(lines))
  redis.call('LTRIM', KEYS[1], 0, num(ARGV[2]) - 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return #lines
