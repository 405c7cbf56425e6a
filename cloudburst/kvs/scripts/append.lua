-- Add to a list that expires some time after its last change.
--
-- KEYS[1]  the list
-- ARGV     value, ttl in ms (0: for ever)

redis.call('RPUSH', KEYS[1], ARGV[1])
if ARGV[2] == '0' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
