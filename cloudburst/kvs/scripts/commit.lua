-- Store the result of a run and close its record, unless it has ended.
--
-- KEYS[1]  the record (a hash, see record.lua)
-- KEYS[2]  the result
-- KEYS[n]  the output and the staged result, at the indices given in ARGV
-- ARGV     state, epoch, executor, reason, ttl in ms (0: for ever), result,
--          index of the output key (0: none), index of the staged result (0: it is in ARGV),
--          target, seconds since the start, parent ('': none), output that is stored elsewhere
--          (none if absent): the record names it until it is, see outputs.py
--
-- Returns 1 for the first commit of the run, 0 once it has ended, 2 for one that is stale: the
-- run goes on under a later epoch, or is being cancelled; 3 once it has ended, but the output
-- that ARGV names last may not be stored yet.

local output, staged = tonumber(ARGV[7]), tonumber(ARGV[8])
local state, epoch, accepted, started = unpack(
  redis.call('HMGET', KEYS[1], 'state', 'epoch', 'accepted', 'started'))
local verdict = 1
if state and state ~= 'PENDING' and state ~= 'RUNNING' and state ~= 'CANCELLING' then
  verdict = ARGV[12] and redis.call('HGET', KEYS[1], 'output') == ARGV[12] and 3 or 0
elseif state and tonumber(ARGV[2]) < tonumber(epoch) then
  verdict = 2
elseif state == 'CANCELLING' and ARGV[1] ~= 'CANCELLED' and ARGV[1] ~= 'TIMED_OUT' then
  verdict = 2
end
if verdict ~= 1 then
  if staged > 0 then
    redis.call('UNLINK', KEYS[staged])
  end
  return verdict
end
if staged > 0 and redis.call('EXISTS', KEYS[staged]) == 0 then
  return redis.error_reply('TRYAGAIN the staged result is missing')
end

local function keep(key)
  if ARGV[5] == '0' then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIRE', key, ARGV[5])
  end
end

-- The values first: if memory is short, the first write fails and nothing has changed.
if staged > 0 then
  local same = output > 0 and KEYS[output] == KEYS[2]
  if output > 0 and not same then
    redis.call('COPY', KEYS[staged], KEYS[output], 'REPLACE')
    redis.call('PERSIST', KEYS[output])
  end
  redis.call('RENAME', KEYS[staged], KEYS[2])
  if same then
    redis.call('PERSIST', KEYS[2])
  else
    keep(KEYS[2])
  end
else
  if ARGV[5] == '0' then
    redis.call('SET', KEYS[2], ARGV[6])
  else
    redis.call('SET', KEYS[2], ARGV[6], 'PX', ARGV[5])
  end
  if output > 0 then
    redis.call('SET', KEYS[output], ARGV[6])
  end
end

local time = redis.call('TIME')
local fields = {'state', ARGV[1], 'epoch', ARGV[2], 'executor', ARGV[3], 'reason', ARGV[4],
  'finished', time[1] .. string.format('.%06d', time[2])}
local began = string.format('%.6f', time[1] + time[2] / 1e6 - ARGV[10])
if accepted then
  redis.call('HSET', KEYS[1], unpack(fields))
  redis.call('HDEL', KEYS[1], 'call')
else
  -- The run was so short that nobody recorded it before.
  accepted = began
  redis.call('HSET', KEYS[1], 'target', ARGV[9], 'accepted', accepted, unpack(fields))
  if ARGV[11] ~= '' then
    redis.call('HSET', KEYS[1], 'parent', ARGV[11])
  end
end
if ARGV[12] then
  redis.call('HSET', KEYS[1], 'output', ARGV[12])
end
if not started and ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'started', began > accepted and began or accepted)
end
keep(KEYS[1])
return 1
