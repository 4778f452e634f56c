#!lua flags=allow-oom
-- with prelude_v1
-- travels with rest
-- replay_job_v3: the job that sends all dead letters again, of which there is one at a time. As replay_job_v2, and a stop
-- can name the job that it is for.
--
-- KEYS  replay
-- ARGV  now, verb, id, progress, silent_ms, kept_ms
--   begin     a new job, unless one goes on that was heard of less than silent_ms ago
--   tell      how far the job of this id is; an empty silent_ms says that it is over
--   take      the job gets this id and keeps its progress, if nobody was heard of for silent_ms and nobody asked it to end
--   stop      the job is asked to end, if it has this id or none is given; one that is over stays what it is
--   look
-- Returns [id, progress, ms since it was heard of, over ('1'|''), stop ('1'|'')], or [] when there is none
-- Repeatable: a job begun with the id that goes on is that job.

local now, verb = clock(ARGV[1]), ARGV[2]
local function look()
  return redis.call('HMGET', KEYS[1], 'id', 'told', 'at', 'over', 'stop')
end
-- What is no time, or lies more than a minute ahead, nobody of ours wrote; it would never grow old.
local function heard_at(job)
  local at = tonumber(job[3] or '')
  return at and at <= now + 60000 and at
end
local job = look()
local heard = heard_at(job)
local there = job[1] and heard
if verb == 'begin' then
  local going_on = there and job[4] ~= '1' and now - heard < num(ARGV[5])
  if not going_on then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'id', ARGV[3], 'told', ARGV[4], 'at', text(now))
  end
elseif verb == 'tell' and there and job[1] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'told', ARGV[4], 'at', text(now), 'over', ARGV[5] == '' and '1' or '')
elseif verb == 'take' and there and job[4] ~= '1' and job[5] ~= '1' and now - heard >= num(ARGV[5]) then
  redis.call('HSET', KEYS[1], 'id', ARGV[3], 'at', text(now))
elseif verb == 'stop' and there and job[4] ~= '1' and (ARGV[3] == '' or job[1] == ARGV[3]) then
  redis.call('HSET', KEYS[1], 'stop', '1')
end
job = look()
heard = heard_at(job)
if not job[1] or not heard then
  return {}
end
if verb ~= 'look' and (verb ~= 'take' or job[1] == ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
return { job[1], job[2] or '', math.max(0, now - heard), job[4] or '', job[5] or '' }
