-- What has fallen due in a shard; changes nothing.
-- KEYS[1] idle: zset session -> deadline ms
-- KEYS[2] ends: zset of expiry buckets, each with a list of sessions at <ends>:<bucket>
-- ARGV[1] now, epoch ms      ARGV[2] bucket of now: those before it have wholly passed
-- ARGV[3] most sessions of either kind      ARGV[4] most bytes of their ids, of either kind; the one that exceeds it still comes
-- Returns {sessions, buckets, bucket, count}: from idle, earliest first, then those of buckets, oldest first; the buckets that
-- were read to their ends (one without a list has none); and one of which only the first `count` were read, or '' and 0.
local most, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local sessions, count = {}, 0
local function take(names)
  local taken, size = 0, 0
  for _, session in ipairs(names) do
    if size >= bytes then break end
    count, taken, size = count + 1, taken + 1, size + #session
    sessions[count] = session
  end
  bytes = bytes - size
  return taken
end
take(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, most))
bytes = tonumber(ARGV[4])
local buckets = {}
for _, bucket in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[2])) do
  if most <= 0 or bytes <= 0 then break end
  local list = KEYS[2] .. ':' .. bucket
  local taken = take(redis.call('LRANGE', list, 0, most - 1))
  if taken < redis.call('LLEN', list) then return {sessions, buckets, bucket, taken} end
  buckets[#buckets + 1] = bucket
  most = most - taken
end
return {sessions, buckets, '', 0}
