-- Create or advance the record of a run, unless it has ended.
--
-- KEYS[1]  the record: a hash of state, epoch, target, executor, accepted, and later
--          started, finished, reason, reasons, parent; call as long as the run is open,
--          output as long as that is not stored (see commit.lua)
-- ARGV     state, epoch, target, executor, reason ('': none), call ('' leaves it),
--          ttl in ms (0: for ever), parent ('': none)
--
-- Returns 1 while the run is open, 0 once it has ended.

local state, epoch, started, reasons = unpack(
  redis.call('HMGET', KEYS[1], 'state', 'epoch', 'started', 'reasons'))
if state and state ~= 'PENDING' and state ~= 'RUNNING' and state ~= 'CANCELLING' then
  return 0
end
if state then
  local known, given = tonumber(epoch), tonumber(ARGV[2])
  -- A stale epoch, or a record that is sent again after the run has gone on.
  local back = given == known and state == 'RUNNING' and ARGV[1] == 'PENDING' and ARGV[5] == ''
  if given < known or back or (state == 'CANCELLING' and ARGV[1] ~= 'CANCELLING') then
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
if (ARGV[1] == 'RUNNING' or ARGV[1] == 'CANCELLING') and not started then
  fields[#fields + 1] = 'started'
  fields[#fields + 1] = now
end
if ARGV[5] ~= '' then
  local line = ARGV[2] .. ' ' .. ARGV[5] .. '\n'
  reasons = reasons or ''
  -- The same line once, should the command be sent again.
  if string.sub(reasons, -#line) ~= line then
    fields[#fields + 1] = 'reasons'
    fields[#fields + 1] = reasons .. line
  end
end
if ARGV[8] ~= '' then
  fields[#fields + 1] = 'parent'
  fields[#fields + 1] = ARGV[8]
end
redis.call('HSET', KEYS[1], unpack(fields))
if ARGV[6] ~= '' then
  redis.call('HSETNX', KEYS[1], 'call', ARGV[6])
end
if ARGV[7] == '0' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
end
return 1
