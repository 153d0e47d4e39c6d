-- Extend visitors' profiles: of a write what a transaction cannot say. Behind `profile.lua`.
-- KEYS profiles: string (`visitors`), one an entry      ARGV[1] life of a profile, s, then the entries of 18 bytes
for n, key in ipairs(KEYS) do extend(key, ARGV[n + 1], ARGV[1]) end
