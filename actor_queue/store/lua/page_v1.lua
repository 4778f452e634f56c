#!lua flags=no-writes
-- page_v1: a page of a sorted set, by score and within a score by rank; either way round. Reads only.
--
-- KEYS  zset
-- ARGV  'up'|'down', limit, score to go on from ('' = from the start), then where among the equal scores to go on:
--       'before' them, 'after' them, or after one 'member'; the member
-- Returns a flat list: member, score, …
-- A member that has left meanwhile makes the page begin before its equals: rather twice than never.

local up, limit, from, where = ARGV[1] == 'up', num(ARGV[2]), ARGV[3], ARGV[4]
local start = 0
if from ~= '' then
  local score = where == 'member' and redis.call('ZSCORE', KEYS[1], ARGV[5])
  if score and num(score) == num(from) then
    start = redis.call(up and 'ZRANK' or 'ZREVRANK', KEYS[1], ARGV[5]) + 1
  else
    local edge = where == 'after' and from or '(' .. from
    start = up and redis.call('ZCOUNT', KEYS[1], '-inf', edge) or redis.call('ZCOUNT', KEYS[1], edge, '+inf')
  end
end
return redis.call(up and 'ZRANGE' or 'ZREVRANGE', KEYS[1], start, start + limit - 1, 'WITHSCORES')
