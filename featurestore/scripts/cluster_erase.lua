-- Erase sessions from a bucket on Redis Cluster, and take the bucket from its owner for a moment; `erase.lua` says why so.
-- KEYS[1] meta: hash {epoch, applied}      KEYS[2] states: hash session -> bytes      KEYS[3] idle: zset session -> deadline ms
-- KEYS[4] pending: hash, what the last batch writes to other slots      KEYS[5] pending:before: of the batch before it
-- KEYS[6] never: is never there, so that nothing runs while the slot moves (`cluster_write.lua`)
-- KEYS[7] ends: zset of slots of time (`ends`), each with a list of sessions at <ends>:<slot>
-- ARGV[1] unique id of this erasure      ARGV[2] how many sessions, then the sessions, then the fields of pending to forget
-- Returns {states removed, sessions that had a deadline, applied or ''}.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied')
if meta[1] then
  local number = tonumber(string.match(meta[1], '^(%d+)')) - 1
  redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', math.max(number, 0)) .. ':' .. ARGV[1])
end
local deadlines = 0
local slots = redis.call('ZRANGE', KEYS[7], 0, -1)
local function forget(session)
  local entries = redis.call('ZREM', KEYS[3], session)
  for _, slot in ipairs(slots) do
    entries = entries + redis.call('LREM', KEYS[7] .. ':' .. slot, 0, session)
  end
  if entries > 0 then deadlines = deadlines + 1 end
end
local states, last = 0, 2 + tonumber(ARGV[2])
for i = 3, last do
  states = states + redis.call('HDEL', KEYS[2], ARGV[i])
  forget(ARGV[i])
end
for i = last + 1, #ARGV do
  redis.call('HDEL', KEYS[4], ARGV[i])
  redis.call('HDEL', KEYS[5], ARGV[i])
end
return {states, deadlines, meta[2] or ''}
