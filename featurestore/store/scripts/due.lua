-- What has fallen due in a shard; changes nothing.
-- KEYS[1] idle: zset session -> deadline ms
-- KEYS[2] ends: zset of slots of time (`ends`), each with a list of sessions at <ends>:<slot>
-- ARGV[1] now, epoch ms      ARGV[2] slot of now: those before it have wholly passed      ARGV[3] limit
-- Returns {sessions, slots}: from idle at most `limit`, earliest first, then those of whole slots, oldest first: of the oldest
-- whatever it holds, and of more until there are `limit` sessions. A slot without a list has none.
local limit = tonumber(ARGV[3])
local sessions = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, limit)
local slots, count = {}, #sessions
for n, slot in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[2])) do
  if n > 1 and count >= limit then break end
  slots[n] = slot
  for _, session in ipairs(redis.call('LRANGE', KEYS[2] .. ':' .. slot, 0, -1)) do
    count = count + 1
    sessions[count] = session
  end
end
return {sessions, slots}
