-- Erase sessions from a shard, and take the shard from its owner for a moment.
-- Behind `forget.lua`.
-- KEYS[1] meta: hash {epoch, applied}      KEYS[2] states: hash session -> bytes      KEYS[3] idle: zset session -> deadline ms
-- KEYS[4] outboxes: list, what the last batches produce to Kafka; they may hold the erased sessions' documents
-- KEYS[5] ends: zset of expiry buckets, each with a list of sessions at <ends>:<bucket>
-- KEYS[6] set_aside: list, records that could not be read; they may be of the erased sessions
-- ARGV[1] unique id of this erasure, then the sessions
-- Returns {states removed, sessions that had a deadline}.
-- The owner may hold these sessions in memory and a write of them under way: it must be fenced. Its epoch is replaced by
-- one that is older by number, which an owner reads as "mine, rolled back": it takes the shard again at once, and reads the
-- tombstones as it does. A replaced worker whose own epoch is older still sees a newer one, and stays away.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch then demote(KEYS[1], epoch, ARGV[1]) end
redis.call('UNLINK', KEYS[6])
return {forget(KEYS[2], KEYS[3], KEYS[5], 2, #ARGV)}
