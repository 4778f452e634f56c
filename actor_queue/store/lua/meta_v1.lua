#!lua
-- meta_v1: what is fixed when a namespace is first used. Written once, compared ever after.
--
-- KEYS  meta
-- ARGV  shards, format
-- Returns {shards, format} as the namespace has them

redis.call('HSETNX', KEYS[1], 'shards', ARGV[1])
redis.call('HSETNX', KEYS[1], 'format', ARGV[2])
return redis.call('HMGET', KEYS[1], 'shards', 'format')
