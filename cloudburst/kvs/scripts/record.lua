-- Create or advance the record of a run, unless it has ended.
--
-- KEYS[1]  the record: a hash of state, epoch, target, executor, accepted, and later
--          started, finished, reason; call as long as the run is open
-- ARGV     state, epoch, target, executor, call ('' leaves it), ttl in ms (0: for ever)
--
-- Returns 1 while the run is open, 0 once it has ended.

local state, epoch, started = unpack(redis.call('HMGET', KEYS[1], 'state', 'epoch', 'started'))
if state == 'SUCCEEDED' or state == 'FAILED' then
  return 0
end
if state then
  local known, given = tonumber(epoch), tonumber(ARGV[2])
  -- A stale epoch, or a record that is sent again after the run has gone on.
  if given < known or (given == known and state == 'RUNNING' and ARGV[1] == 'PENDING') then
    return 1
  end
end

local time = redis.call('TIME')
local now = time[1] .. string.format('.%06d', time[2])
local fields = {'state', ARGV[1], 'epoch', ARGV[2], 'target', ARGV[3], 'executor', ARGV[4]}
if not state then
  fields[#fields + 1] = 'accepted'
  fields[#fields + 1] = now
end
if ARGV[1] == 'RUNNING' and not started then
  fields[#fields + 1] = 'started'
  fields[#fields + 1] = now
end
redis.call('HSET', KEYS[1], unpack(fields))
if ARGV[5] ~= '' then
  redis.call('HSETNX', KEYS[1], 'call', ARGV[5])
end
if ARGV[6] == '0' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
return 1
