#!lua
-- answer_key_v1: the key with which all replicas of a namespace sign the addresses for answers. Written once.
--
-- KEYS  meta
-- ARGV  a new key
-- Returns the key of the namespace

redis.call('HSETNX', KEYS[1], 'answer_key', ARGV[1])
return redis.call('HGET', KEYS[1], 'answer_key')
