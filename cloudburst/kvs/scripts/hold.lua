-- Take a lease that nobody holds, or renew one's own.
--
-- KEYS[1]  the lease
-- ARGV     holder, ttl in ms
--
-- Returns 1 if it is the holder's afterwards, 0 if somebody else has it.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
