-- Extend visitors' profiles: of a write what a transaction cannot say. Behind `profile.lua`.
-- KEYS profiles: string (`visitors`), one an entry
-- ARGV[1] life of a profile, s      ARGV[2] what a profile begins with (`profile.lua`), then the entries of 18 bytes
for n, key in ipairs(KEYS) do extend(key, ARGV[n + 2], ARGV[1], ARGV[2]) end
