-- What `write.lua` and `cluster_write.lua` share; it comes before either.
-- Calls a command with `count` arguments from ARGV[at] on, thousands at a time; returns where the next ones begin.
local function bulk(command, key, at, count)
  local last = at + count - 1
  while at <= last do
    local stop = math.min(at + 3999, last)
    redis.call(command, key, unpack(ARGV, at, stop))
    at = stop + 1
  end
  return at
end
-- Deletes the lists of buckets that have passed, (bucket)* from ARGV[at] on; returns where the next arguments begin.
local function pass(ends, at, passed)
  for i = at, at + passed - 1 do
    redis.call('UNLINK', ends .. ':' .. ARGV[i])
    redis.call('ZREM', ends, ARGV[i])
  end
  return at + passed
end
-- Puts sessions, bucket by bucket from ARGV[at] on, into the lists of (bucket, how many sessions, life of its list, s)* from ARGV[bucket] on.
local function enlist(ends, bucket, buckets, at)
  for _ = 1, buckets do
    local list = ends .. ':' .. ARGV[bucket]
    at = bulk('RPUSH', list, at, tonumber(ARGV[bucket + 1]))
    redis.call('EXPIRE', list, ARGV[bucket + 2])
    redis.call('ZADD', ends, ARGV[bucket], ARGV[bucket])
    bucket = bucket + 3
  end
end
