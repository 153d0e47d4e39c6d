-- Erase sessions from a bucket on Redis Cluster, and take the bucket from its owner for a moment; `erase.lua` says why so.
-- KEYS[1] meta: hash {epoch, applied}      KEYS[2] states: hash session -> bytes      KEYS[3] idle: zset session -> deadline ms
-- KEYS[4] pending: hash, what the last batch writes to other slots      KEYS[5] pending:before: of the batch before it
-- KEYS[6] never: is never there, so that nothing runs while the slot moves (`cluster_write.lua`)
-- ARGV[1] unique id of this erasure      ARGV[2] how many sessions, then the sessions, then the fields of pending to forget
-- Returns {states removed, deadlines removed, applied or ''}.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied')
if meta[1] then
  local number = tonumber(string.match(meta[1], '^(%d+)')) - 1
  redis.call('HSET', KEYS[1], 'epoch', string.format('%.0f', math.max(number, 0)) .. ':' .. ARGV[1])
end
local states, deadlines, last = 0, 0, 2 + tonumber(ARGV[2])
for i = 3, last do
  states = states + redis.call('HDEL', KEYS[2], ARGV[i])
  deadlines = deadlines + redis.call('ZREM', KEYS[3], ARGV[i])
end
for i = last + 1, #ARGV do
  redis.call('HDEL', KEYS[4], ARGV[i])
  redis.call('HDEL', KEYS[5], ARGV[i])
end
return {states, deadlines, meta[2] or ''}
