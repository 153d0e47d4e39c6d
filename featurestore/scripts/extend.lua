-- Extend visitors' profiles; a session that is known already changes nothing. What `write.lua` does at its end, for a transaction.
-- KEYS profiles: string (`visitors`), one an entry      ARGV[1] life of a profile, s, then the entries of 18 bytes
for n, key in ipairs(KEYS) do
  local stored, entry = redis.call('GET', key) or '\0\0', ARGV[n + 1]
  local entries, known = string.sub(stored, 3), false
  for i = 1, #entries, 18 do
    if string.sub(entries, i, i + 7) == string.sub(entry, 1, 8) then known = true end
  end
  if not known then
    local sessions = math.min(string.byte(stored, 1) + 256 * string.byte(stored, 2) + 1, 65535)
    local head = string.char(sessions % 256, math.floor(sessions / 256))
    redis.call('SET', key, head .. string.sub(entries .. entry, -180), 'EX', ARGV[1])
  end
end
