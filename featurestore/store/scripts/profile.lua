-- What `write.lua`, `extend.lua` and `cluster_remember.lua` share; it comes before each of them.
-- Extends a visitor's profile (`visitors`) by `entries` of 18 bytes, oldest first; a session that is known already changes nothing.
-- `head` is what a profile of the version to be written begins with. Profiles of this version and of the one before are read.
-- Returns how many sessions were new.
local ENTRY = 18
local function split(stored)
  local behind = nil
  if #stored % ENTRY == 2 then behind = 0 end
  if #stored % ENTRY == 4 and string.sub(stored, 1, 2) == '\2\18' then behind = 2 end
  if not behind then return 0, '' end
  return string.byte(stored, behind + 1) + 256 * string.byte(stored, behind + 2), string.sub(stored, behind + 3)
end
-- Version 1 (an empty head) takes the whole last byte of an entry for whether the session bounced: it gets no segments.
local function without_segments(entries)
  local kept = ''
  for at = 1, #entries, ENTRY do
    kept = kept .. string.sub(entries, at, at + ENTRY - 2) .. string.char(string.byte(entries, at + ENTRY - 1) % 2)
  end
  return kept
end
local function extend(profile, entries, life, head)
  local sessions, kept = split(redis.call('GET', profile) or '')
  local new = 0
  for at = 1, #entries, ENTRY do
    local entry, known = string.sub(entries, at, at + ENTRY - 1), false
    for i = 1, #kept, ENTRY do
      if string.sub(kept, i, i + 7) == string.sub(entry, 1, 8) then known = true end
    end
    if not known then
      sessions, new = math.min(sessions + 1, 65535), new + 1
      kept = string.sub(kept .. entry, -10 * ENTRY)
    end
  end
  if new > 0 then
    if head == '' then kept = without_segments(kept) end
    redis.call('SET', profile, head .. string.char(sessions % 256, math.floor(sessions / 256)) .. kept, 'EX', life)
  end
  return new
end
