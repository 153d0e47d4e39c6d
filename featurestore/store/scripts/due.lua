-- What has fallen due in a shard; changes nothing.
-- KEYS[1] idle: zset session -> deadline ms
-- KEYS[2] ends: zset of expiry buckets, each with a list of sessions at <ends>:<bucket>
-- ARGV[1] now, epoch ms      ARGV[2] bucket of now: those before it have wholly passed      ARGV[3] limit
-- Returns {sessions, buckets}: from idle at most `limit`, earliest first, then those of whole buckets, oldest first: of the oldest
-- whatever it holds, and of more until there are `limit` sessions. A bucket without a list has none.
local limit = tonumber(ARGV[3])
local sessions = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, limit)
local buckets, count = {}, #sessions
for n, bucket in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[2])) do
  if n > 1 and count >= limit then break end
  buckets[n] = bucket
  for _, session in ipairs(redis.call('LRANGE', KEYS[2] .. ':' .. bucket, 0, -1)) do
    count = count + 1
    sessions[count] = session
  end
end
return {sessions, buckets}
