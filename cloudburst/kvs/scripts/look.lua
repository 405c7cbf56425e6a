-- Read a value, or the members of a set: whichever it is.
--
-- KEYS[1]  the value or set

if redis.call('TYPE', KEYS[1]).ok == 'set' then
  return redis.call('SMEMBERS', KEYS[1])
end
return redis.call('GET', KEYS[1])
