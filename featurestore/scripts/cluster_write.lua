-- Apply one batch to a bucket on Redis Cluster: everything or nothing, and only by the owner that knows what was written last.
-- All keys share one slot. What goes to other slots is kept in `pending` until it has surely landed there.
-- KEYS[1] meta: hash {epoch, applied}      KEYS[2] states: hash session -> bytes      KEYS[3] idle: zset session -> deadline ms
-- KEYS[4] outbox: string, what this batch produces to Kafka      KEYS[5] before: string, the outbox of the batch before it
-- KEYS[6] pending: hash, what this batch writes to other slots (`pending`)      KEYS[7] pending:before: of the batch before it
-- ARGV[1] epoch of the caller      ARGV[2] applied offset that the caller last saw, '' for none      ARGV[3] applied offset after this batch
-- ARGV[4] life of the keys, s
-- ARGV[5..8] counts: sessions to put, deadlines to set, sessions to remove, fields of pending
-- ARGV[9] 1: Kafka has what both outboxes hold      ARGV[10] the outbox, '' for nothing to produce
-- ARGV[11] 1: what both pendings hold has landed
-- then the puts (session, bytes)*, the deadlines (ms, session)*, the removals (session)*, the pending (field, value)*
-- Returns {1, applied} written; {-1, stored epoch} another owner; {-2, stored applied} the store is not where the caller left it.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'applied')
if meta[1] ~= ARGV[1] then return {-1, meta[1] or ''} end
local applied = meta[2] or ''
if applied ~= ARGV[2] then return {-2, applied} end
local puts, dues, removals, pending = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
-- A growing write comes first: under noeviction Redis refuses it before anything has changed.
redis.call('HSET', KEYS[1], 'applied', ARGV[3])
local function turn(done, new, key, before)
  if done then
    redis.call('UNLINK', key, before)
  elseif new and redis.call('EXISTS', key) == 1 then
    redis.call('UNLINK', before)
    redis.call('RENAME', key, before)
  end
end
-- A batch that moves no offset may come twice; the second time its own outbox is the stored one, which stays.
local again = ARGV[2] == ARGV[3] and ARGV[10] ~= '' and redis.call('GET', KEYS[4]) == ARGV[10]
turn(ARGV[9] == '1', ARGV[10] ~= '' and not again, KEYS[4], KEYS[5])
if ARGV[10] ~= '' then redis.call('SET', KEYS[4], ARGV[10], 'EX', ARGV[4]) end
turn(ARGV[11] == '1', pending > 0, KEYS[6], KEYS[7])
local at = 12
local function bulk(command, key, count)
  local last = at + count - 1
  while at <= last do
    local stop = math.min(at + 3999, last)
    redis.call(command, key, unpack(ARGV, at, stop))
    at = stop + 1
  end
end
bulk('HSET', KEYS[2], 2 * puts)
bulk('ZADD', KEYS[3], 2 * dues)
local first = at
bulk('HDEL', KEYS[2], removals)
at = first
bulk('ZREM', KEYS[3], removals)
bulk('HSET', KEYS[6], 2 * pending)
if puts > 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  redis.call('EXPIRE', KEYS[3], ARGV[4])
end
if pending > 0 then redis.call('EXPIRE', KEYS[6], ARGV[4]) end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {1, ARGV[3]}
