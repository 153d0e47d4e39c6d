-- Take ownership of a shard.
-- KEYS[1] meta: hash {epoch, applied, write}      KEYS[2] outboxes: list, what the last batches produce
-- ARGV[1] wall clock, epoch ms
-- ARGV[2] number of the caller's own last epoch, 0 for none
-- ARGV[3] unique id of this acquisition
-- Returns {epoch, applied or '', outboxes}.
-- The number is max(stored + 1, clock, own + 1): a plain counter would roll back with the data it protects.
local stored = redis.call('HGET', KEYS[1], 'epoch') or '0:'
local number = math.max(tonumber(string.match(stored, '^(%d+)')) + 1, tonumber(ARGV[1]), tonumber(ARGV[2]) + 1)
local epoch = string.format('%.0f', number) .. ':' .. ARGV[3]
redis.call('HSET', KEYS[1], 'epoch', epoch)
redis.call('HDEL', KEYS[1], 'write')
return {epoch, redis.call('HGET', KEYS[1], 'applied') or '', redis.call('LRANGE', KEYS[2], 0, -1)}
