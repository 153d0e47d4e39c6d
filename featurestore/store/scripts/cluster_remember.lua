-- Extend one visitor's profile on Redis Cluster. Behind `profile.lua`.
-- KEYS[1] profile: string (`visitors`)      KEYS[2] gone: string, there while the visitor was lately erased
-- ARGV[1] entries of 18 bytes, oldest first      ARGV[2] life of a profile, s      ARGV[3] what a profile begins with (`profile.lua`)
-- Returns how many sessions were new.
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
return extend(KEYS[1], ARGV[1], ARGV[2], ARGV[3])
