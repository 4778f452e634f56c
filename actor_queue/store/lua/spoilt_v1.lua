#!lua flags=no-writes
-- spoilt_v1: which keys of one user, or of one dead letter, hold another kind of value than ours. Reads only.
--
-- KEYS  hash, lists…
-- ARGV  none
-- Returns the numbers of those keys, counted from 1
-- It asks by reading, because a user of the least rights may not ask for a type.

local wrong = {}
for number, key in ipairs(KEYS) do
  local said
  if number == 1 then
    said = redis.pcall('HGET', key, 'seq')
  else
    said = redis.pcall('LLEN', key)
  end
  if type(said) == 'table' and said.err then
    table.insert(wrong, number)
  end
end
return wrong
