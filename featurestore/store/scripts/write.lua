-- Apply one batch to a shard: everything or nothing, and only by the owner that knows what was written last.
-- Behind `profile.lua`. The steps come from `write_ops`, where they and their order are declared.
-- KEYS[1] meta: hash {epoch, applied, write}; the other keys that steps name are in its slot, and KEYS has those that matter to a
--         Cluster: the last one is never there there. In a slot that is being moved a node carries out what names existing keys
--         only, and inside a script refuses to touch a missing one, such as one just deleted: half a batch would stand. Naming a
--         missing key, the script is refused as a whole (TRYAGAIN) until the slot has moved.
-- ARGV[1] epoch of the caller      ARGV[2] applied offset that the caller last saw, '' for none      ARGV[3] applied offset after this batch
-- ARGV[4] number of this write, larger than those of the owner's earlier ones; what was written is not written again; 0 for none
-- then the steps, each of them one of
--   command, key, count, (argument)*                                    the command; with many arguments, in parts
--   'each', command, count, 1 or 2, tails, (tail)*, (key [value])*      the command for each key, its value and the tails behind it
--   'extend', head, count, life in s, (key, entry)*                     each profile by an entry (`profile.lua`)
--   'rotate', key, 1, key                                               rename the first to the second, if it is there
-- Returns {1, applied} written; {-1, stored epoch} another owner; {-2, stored applied} the store is not where the caller left it.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied', 'write')
if meta[1] ~= ARGV[1] then return {-1, meta[1] or ''} end
local applied = meta[2] or ''
if ARGV[4] ~= '0' and tonumber(meta[3] or 0) >= tonumber(ARGV[4]) then return {1, applied} end
if applied ~= ARGV[2] then return {-2, applied} end
local PART = 4000 -- an even number: pairs stay together, and `unpack` has room
local at = 5
local function each(command, count, per, tails)
  local tail = {unpack(ARGV, at, at + tails - 1)}
  at = at + tails
  for _ = 1, count do
    if per == 2 then redis.call(command, ARGV[at], ARGV[at + 1], unpack(tail)) else redis.call(command, ARGV[at], unpack(tail)) end
    at = at + per
  end
end
while at <= #ARGV do
  local kind, key, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  at = at + 3
  if kind == 'each' then
    local per, tails = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    at = at + 2
    each(key, count, per, tails)
  elseif kind == 'extend' then
    local life = ARGV[at]
    for i = at + 1, at + 2 * count, 2 do extend(ARGV[i], ARGV[i + 1], life, key) end
    at = at + 1 + 2 * count
  elseif kind == 'rotate' then
    if redis.call('EXISTS', key) == 1 then
      redis.call('UNLINK', ARGV[at])
      redis.call('RENAME', key, ARGV[at])
    end
    at = at + 1
  elseif count == 0 then
    redis.call(kind, key)
  else
    local last = at + count - 1
    while at <= last do
      local stop = math.min(at + PART - 1, last)
      redis.call(kind, key, unpack(ARGV, at, stop))
      at = stop + 1
    end
  end
end
return {1, ARGV[3]}
