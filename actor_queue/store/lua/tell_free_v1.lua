#!lua flags=allow-oom
-- tell_free_v1: shards were given back: tell every replica that lives, and let each see whether some are its own now.
--
-- KEYS  members
-- ARGV  replica that tells, channel to which a replica's name is added
-- Returns how many were told

local told = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if member ~= ARGV[1] then
    redis.call('PUBLISH', ARGV[2] .. member, 'free')
    told = told + 1
  end
end
return told
