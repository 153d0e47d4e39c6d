-- What `write.lua` and `extend.lua` share; it comes before either.
-- Extends a visitor's profile (`visitors`) by an entry of 18 bytes; a session that is known already changes nothing.
local function extend(profile, entry, life)
  local stored = redis.call('GET', profile) or '\0\0'
  local entries = string.sub(stored, 3)
  for i = 1, #entries, 18 do
    if string.sub(entries, i, i + 7) == string.sub(entry, 1, 8) then return end
  end
  local sessions = math.min(string.byte(stored, 1) + 256 * string.byte(stored, 2) + 1, 65535)
  local head = string.char(sessions % 256, math.floor(sessions / 256))
  redis.call('SET', profile, head .. string.sub(entries .. entry, -180), 'EX', life)
end
