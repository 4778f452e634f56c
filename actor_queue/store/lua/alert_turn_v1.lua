#!lua flags=allow-oom
-- alert_turn_v1: whether this replica may tell operators of one kind of trouble now. All replicas see the same receiver
-- fail, and one of them is enough.
--
-- KEYS  alert
-- ARGV  now, for how many ms nobody else may
-- Returns 1, or 0 where another one has told within that time

return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) and 1 or 0
