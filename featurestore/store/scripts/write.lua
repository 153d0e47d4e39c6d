-- Apply one batch to a shard: everything or nothing, and only by the owner that knows what was written last.
-- Behind `batch.lua` and `profile.lua`.
-- KEYS[1] meta: hash {epoch, applied, write}      KEYS[2] states: hash session -> bytes      KEYS[3] idle: zset session -> deadline ms
-- KEYS[4] outboxes: list, what the last batches produce to Kafka, oldest first
-- KEYS[5] ends: zset of expiry buckets, each with a list of sessions at <ends>:<bucket>
-- ARGV[1] epoch of the caller      ARGV[2] applied offset that the caller last saw, '' for none      ARGV[3] applied offset after this batch
-- ARGV[4] life of a decision, ms   ARGV[5] life of the shard's keys, s      ARGV[6] life of a profile, s
-- ARGV[7..12] counts: sessions to put, decisions to set, sessions to remove, decisions to delete, profiles to extend, deadlines to set
-- ARGV[13] how many of the oldest outboxes are acknowledged      ARGV[14] the outbox of this batch, '' for nothing to produce
-- ARGV[15] number of this write, larger than those of the owner's earlier ones; what was written is not written again; 0 for none
-- ARGV[16..18] counts: sessions that leave idle, buckets that have passed, buckets that sessions end in
-- ARGV[19] what a profile begins with (`profile.lua`)
-- then the passed (bucket)*, the buckets (bucket, how many sessions, life of its list, s)*,
--      the puts (session, bytes)*, the deadlines (ms, session)*, the decisions (key, json)*, the removals (session)*,
--      the deletions (key)*, the profiles (key, entry of 18 bytes)*, those that leave idle (session)*,
--      those that end (session)*, bucket by bucket
-- Returns {1, applied} written; {-1, stored epoch} another owner; {-2, stored applied} the store is not where the caller left it.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied', 'write')
if meta[1] ~= ARGV[1] then return {-1, meta[1] or ''} end
local applied = meta[2] or ''
if ARGV[15] ~= '0' and tonumber(meta[3] or 0) >= tonumber(ARGV[15]) then return {1, applied} end
if applied ~= ARGV[2] then return {-2, applied} end
local puts, sets, removals, deletions, profiles, dues =
  tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
-- A growing write comes first: under noeviction Redis refuses it before anything has changed.
redis.call('HSET', KEYS[1], 'applied', ARGV[3], 'write', ARGV[15])
if ARGV[13] ~= '0' then redis.call('LTRIM', KEYS[4], ARGV[13], -1) end
if ARGV[14] ~= '' then
  redis.call('RPUSH', KEYS[4], ARGV[14])
  redis.call('EXPIRE', KEYS[4], ARGV[5])
end
local disarmed, passed, buckets, at = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18]), 20
local bucket = pass(KEYS[5], at, passed)
at = bucket + 3 * buckets
at = bulk('HSET', KEYS[2], at, 2 * puts)
at = bulk('ZADD', KEYS[3], at, 2 * dues)
for _ = 1, sets do
  redis.call('SET', ARGV[at], ARGV[at + 1], 'PX', ARGV[4])
  at = at + 2
end
bulk('HDEL', KEYS[2], at, removals)
at = bulk('ZREM', KEYS[3], at, removals)
for _ = 1, deletions do
  redis.call('DEL', ARGV[at])
  at = at + 1
end
for _ = 1, profiles do
  extend(ARGV[at], ARGV[at + 1], ARGV[6], ARGV[19])
  at = at + 2
end
at = bulk('ZREM', KEYS[3], at, disarmed)
enlist(KEYS[5], bucket, buckets, at)
if puts + buckets > 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[5])
  redis.call('EXPIRE', KEYS[3], ARGV[5])
  redis.call('EXPIRE', KEYS[5], ARGV[5])
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {1, ARGV[3]}
