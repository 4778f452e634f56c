#!lua flags=allow-oom
-- publish_v1: tell whoever listens on a channel. Any node of a cluster tells all the others.
--
-- KEYS  members, so that a cluster knows which node to ask; it is not touched
-- ARGV  channel, text
-- Returns how many heard it at this node

return redis.call('PUBLISH', ARGV[1], ARGV[2])
