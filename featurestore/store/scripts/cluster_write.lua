-- Apply one batch to a bucket on Redis Cluster: everything or nothing, and only by the owner that knows what was written last.
-- Behind `batch.lua`.
-- All keys share one slot. What goes to other slots is kept in `pending` until it has surely landed there.
-- KEYS[1] meta: hash {epoch, applied, write}      KEYS[2] states: hash session -> bytes      KEYS[3] idle: zset session -> deadline ms
-- KEYS[4] outboxes: list, what the last batches produce to Kafka, oldest first
-- KEYS[5] pending: hash, what this batch writes to other slots (`pending`)      KEYS[6] pending:before: of the batch before it
-- KEYS[7] never: is never there. In a slot that is being moved a node carries out what names existing keys only, and inside a
--         script refuses to touch a missing one, such as one just deleted: half a batch would stand. Naming a missing key, the
--         script is refused as a whole (TRYAGAIN) until the slot has moved.
-- KEYS[8] ends: zset of expiry buckets, each with a list of sessions at <ends>:<bucket>
-- ARGV[1] epoch of the caller      ARGV[2] applied offset that the caller last saw, '' for none      ARGV[3] applied offset after this batch
-- ARGV[4] life of the keys, s
-- ARGV[5..8] counts: sessions to put, deadlines to set, sessions to remove, fields of pending
-- ARGV[9] how many of the oldest outboxes are acknowledged      ARGV[10] the outbox of this batch, '' for nothing to produce
-- ARGV[11] 1: what both pendings hold has landed
-- ARGV[12] number of this write, larger than those of the owner's earlier ones; what was written is not written again; 0 for none
-- ARGV[13..15] counts: sessions that leave idle, buckets that have passed, buckets that sessions end in
-- then the passed (bucket)*, the buckets (bucket, how many sessions, life of its list, s)*,
--      the puts (session, bytes)*, the deadlines (ms, session)*, the removals (session)*, the pending (field, value)*,
--      those that leave idle (session)*, those that end (session)*, bucket by bucket
-- Returns {1, applied} written; {-1, stored epoch} another owner; {-2, stored applied} the store is not where the caller left it.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied', 'write')
if meta[1] ~= ARGV[1] then return {-1, meta[1] or ''} end
local applied = meta[2] or ''
if ARGV[12] ~= '0' and tonumber(meta[3] or 0) >= tonumber(ARGV[12]) then return {1, applied} end
if applied ~= ARGV[2] then return {-2, applied} end
local puts, dues, removals, pending = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
-- A growing write comes first: under noeviction Redis refuses it before anything has changed.
redis.call('HSET', KEYS[1], 'applied', ARGV[3], 'write', ARGV[12])
if ARGV[9] ~= '0' then redis.call('LTRIM', KEYS[4], ARGV[9], -1) end
if ARGV[10] ~= '' then
  redis.call('RPUSH', KEYS[4], ARGV[10])
  redis.call('EXPIRE', KEYS[4], ARGV[4])
end
if ARGV[11] == '1' then
  redis.call('UNLINK', KEYS[5], KEYS[6])
elseif pending > 0 and redis.call('EXISTS', KEYS[5]) == 1 then
  redis.call('UNLINK', KEYS[6])
  redis.call('RENAME', KEYS[5], KEYS[6])
end
local disarmed, passed, buckets, at = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15]), 16
local bucket = pass(KEYS[8], at, passed)
at = bucket + 3 * buckets
at = bulk('HSET', KEYS[2], at, 2 * puts)
at = bulk('ZADD', KEYS[3], at, 2 * dues)
bulk('HDEL', KEYS[2], at, removals)
at = bulk('ZREM', KEYS[3], at, removals)
at = bulk('HSET', KEYS[5], at, 2 * pending)
at = bulk('ZREM', KEYS[3], at, disarmed)
enlist(KEYS[8], bucket, buckets, at)
if puts + buckets > 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  redis.call('EXPIRE', KEYS[3], ARGV[4])
  redis.call('EXPIRE', KEYS[8], ARGV[4])
end
if pending > 0 then redis.call('EXPIRE', KEYS[5], ARGV[4]) end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {1, ARGV[3]}
