-- What `erase.lua` and `cluster_erase.lua` share; it comes before either.
-- Takes a shard from its owner: an epoch that is older by number, made unique by `id`.
local function demote(meta, epoch, id)
  local number = tonumber(string.match(epoch, '^(%d+)')) - 1
  redis.call('HSET', meta, 'epoch', string.format('%.0f', math.max(number, 0)) .. ':' .. id)
end
-- Removes the sessions ARGV[first] to ARGV[last]; returns how many had a state, and how many a deadline.
local function forget(states, idle, ends, first, last)
  local buckets = redis.call('ZRANGE', ends, 0, -1)
  local removed, deadlines = 0, 0
  for i = first, last do
    removed = removed + redis.call('HDEL', states, ARGV[i])
    local entries = redis.call('ZREM', idle, ARGV[i])
    for _, bucket in ipairs(buckets) do
      entries = entries + redis.call('LREM', ends .. ':' .. bucket, 0, ARGV[i])
    end
    if entries > 0 then deadlines = deadlines + 1 end
  end
  return removed, deadlines
end
