-- Extend one visitor's profile on Redis Cluster; a session that is known already changes nothing.
-- KEYS[1] profile: string (`visitors`)      KEYS[2] gone: string, there while the visitor was lately erased
-- ARGV[1] entries of 18 bytes, oldest first      ARGV[2] life of a profile, s
-- Returns how many were new.
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local stored = redis.call('GET', KEYS[1]) or '\0\0'
local sessions, kept, new = string.byte(stored, 1) + 256 * string.byte(stored, 2), string.sub(stored, 3), 0
for at = 1, #ARGV[1], 18 do
  local entry, known = string.sub(ARGV[1], at, at + 17), false
  for i = 1, #kept, 18 do
    if string.sub(kept, i, i + 7) == string.sub(entry, 1, 8) then known = true end
  end
  if not known then
    sessions, new = math.min(sessions + 1, 65535), new + 1
    kept = string.sub(kept .. entry, -180)
  end
end
if new > 0 then
  redis.call('SET', KEYS[1], string.char(sessions % 256, math.floor(sessions / 256)) .. kept, 'EX', ARGV[2])
end
return new
