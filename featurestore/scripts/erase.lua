-- Erase sessions from a shard, and take the shard from its owner for a moment.
-- KEYS[1] meta: hash {epoch, applied}      KEYS[2] states: hash session -> bytes      KEYS[3] idle: zset session -> deadline ms
-- KEYS[4] outboxes: list, what the last batches produce to Kafka; they may hold the erased sessions' documents
-- KEYS[5] ends: zset of slots of time (`ends`), each with a list of sessions at <ends>:<slot>
-- ARGV[1] unique id of this erasure, then the sessions
-- Returns {states removed, sessions that had a deadline}.
-- The owner may hold these sessions in memory and a write of them under way: it must be fenced. Its epoch is replaced by
-- one that is older by number, which an owner reads as "mine, rolled back": it takes the shard again at once, and reads the
-- tombstones as it does. A replaced worker whose own epoch is older still sees a newer one, and stays away.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch then
  local number = tonumber(string.match(epoch, '^(%d+)')) - 1
  redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', math.max(number, 0)) .. ':' .. ARGV[1])
end
local deadlines = 0
local slots = redis.call('ZRANGE', KEYS[5], 0, -1)
local function forget(session)
  local entries = redis.call('ZREM', KEYS[3], session)
  for _, slot in ipairs(slots) do
    entries = entries + redis.call('LREM', KEYS[5] .. ':' .. slot, 0, session)
  end
  if entries > 0 then deadlines = deadlines + 1 end
end
local states = 0
for i = 2, #ARGV do
  states = states + redis.call('HDEL', KEYS[2], ARGV[i])
  forget(ARGV[i])
end
return {states, deadlines}
