#!lua flags=allow-oom
-- with nothing
-- travels with rest
-- erase_own_v1: forget which messages an account sent to a user who is erased. Called by any replica.
--
-- KEYS  own
-- ARGV  (none)
-- Returns how many keys went

return redis.call('UNLINK', KEYS[1])
