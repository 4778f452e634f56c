#!lua
-- log_key_v1: the key with which all replicas of a namespace hash the users in their logs. Written once.
--
-- KEYS  meta
-- ARGV  a new key
-- Returns the key of the namespace

redis.call('HSETNX', KEYS[1], 'log_key', ARGV[1])
return redis.call('HGET', KEYS[1], 'log_key')
