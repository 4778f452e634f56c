#!lua flags=no-writes
-- sift_v1: which of a shard's users may be in a state, at a fraction of what describing them costs. Reads only.
--
-- KEYS  u of each user
-- ARGV  now, 'delivering'|'held'|'retrying'
-- Returns {place of a user in KEYS, counted from 1, …}; also of one of whom something cannot be read.

local now = clock(ARGV[1])
local found = {}
for i, key in ipairs(KEYS) do
  local u = redis.pcall('HMGET', key, 'fs', 'hu')
  local state = ''
  if u.err then
    state = ARGV[2]
  elseif u[1] == 'a' then
    state = 'delivering'
  elseif num(u[2]) > now then
    state = 'held'
  elseif u[1] then
    state = 'retrying'
  end
  if state == ARGV[2] then
    found[#found + 1] = i
  end
end
return found
