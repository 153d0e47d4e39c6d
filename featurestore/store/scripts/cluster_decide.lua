-- Set or delete one decision on Redis Cluster, whoever calls and however late: an older answer never replaces a newer one.
-- KEYS[1] decision:<session id>: string, the JSON document
-- KEYS[2] gone: string '<seq> <source>' of a deletion; decisions of this source up to this seq stay deleted
-- ARGV[1] '=': set; '-': delete      ARGV[2] the document; for a deletion '<seq> <source>'      ARGV[3] life of a decision, ms
-- Returns 1 done, 0 nothing to do: something newer stands, the document's time is over, or there was none to delete.
-- Of one source the larger seq is newer, of one seq the later decided_at. Another source is another topic: it replaces.
-- A document is dead `life` after it was decided, and a deletion is remembered for longer: so none comes back by this script.
local MARGIN_MS = 60000
local life = tonumber(ARGV[3])
local function order(document)
  local decided, source, seq = string.match(document, ',"decided_at":(%d+),"source":"([^"]*)","seq":(%d+)')
  return source, tonumber(seq), tonumber(decided)
end
local function text(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or ''
end
local gone_seq, gone_source = string.match(text(KEYS[2]), '^(%d+) (.*)$')
local stood_source, stood_seq, stood_decided = order(text(KEYS[1]))
if ARGV[1] == '-' then
  local seq, source = string.match(ARGV[2], '^(%d+) (.*)$')
  seq = tonumber(seq)
  if not (gone_source == source and tonumber(gone_seq) >= seq) then
    redis.call('SET', KEYS[2], ARGV[2], 'PX', life + MARGIN_MS)
  end
  if stood_source == source and stood_seq > seq then return 0 end
  return redis.call('DEL', KEYS[1])
end
local source, seq, decided = order(ARGV[2])
if source then
  local now = redis.call('TIME')
  local left = decided + life - (tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
  life = math.min(life, left)
  if life <= 0 then return 0 end
  if gone_source == source and tonumber(gone_seq) >= seq then return 0 end
  if stood_source == source and (stood_seq > seq or stood_seq == seq and stood_decided >= decided) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', life))
return 1
