-- Erase sessions from a bucket on Redis Cluster, and take the bucket from its owner for a moment; `erase.lua` says why so.
-- Behind `forget.lua`.
-- KEYS[1] meta: hash {epoch, applied}      KEYS[2] states: hash session -> bytes      KEYS[3] idle: zset session -> deadline ms
-- KEYS[4] pending: hash, what the last batch writes to other slots      KEYS[5] pending:before: of the batch before it
-- KEYS[6] never: is never there, so that nothing runs while the slot moves (`cluster_write.lua`)
-- KEYS[7] ends: zset of expiry buckets, each with a list of sessions at <ends>:<bucket>
-- KEYS[8] set_aside: list, records that could not be read; they may be of the erased sessions
-- ARGV[1] unique id of this erasure      ARGV[2] how many sessions, then the sessions, then the fields of pending to forget
-- Returns {states removed, sessions that had a deadline, applied or ''}.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied')
if meta[1] then demote(KEYS[1], meta[1], ARGV[1]) end
local last = 2 + tonumber(ARGV[2])
local states, deadlines = forget(KEYS[2], KEYS[3], KEYS[7], 3, last)
for i = last + 1, #ARGV do
  redis.call('HDEL', KEYS[4], ARGV[i])
  redis.call('HDEL', KEYS[5], ARGV[i])
end
redis.call('UNLINK', KEYS[8])
return {states, deadlines, meta[2] or ''}
