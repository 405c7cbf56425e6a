-- Store the result of a run and close its record, unless it has ended.
--
-- KEYS[1]  the record (a hash, see record.lua)
-- KEYS[2]  the result
-- KEYS[n]  the output and the staged result, at the indices given in ARGV
-- ARGV     state, epoch, executor, reason, ttl in ms (0: for ever), result,
--          index of the output key (0: none), index of the staged result (0: it is in ARGV)
--
-- Returns 1 for the first commit of the run, 0 for any other.

local output, staged = tonumber(ARGV[7]), tonumber(ARGV[8])
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'SUCCEEDED' or state == 'FAILED' then
  if staged > 0 then
    redis.call('UNLINK', KEYS[staged])
  end
  return 0
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
  if output > 0 then
    redis.call('COPY', KEYS[staged], KEYS[output], 'REPLACE')
    redis.call('PERSIST', KEYS[output])
  end
  redis.call('RENAME', KEYS[staged], KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[6])
  if output > 0 then
    redis.call('SET', KEYS[output], ARGV[6])
  end
end
keep(KEYS[2])

local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'epoch', ARGV[2], 'executor', ARGV[3],
  'reason', ARGV[4], 'finished', time[1] .. string.format('.%06d', time[2]))
redis.call('HDEL', KEYS[1], 'call')
keep(KEYS[1])
return 1
