-- One decision as "source seq expires_at action document", or "gone" where there is none.
-- KEYS[1] decision:<session id>: string, the JSON document
local document = redis.call('GET', KEYS[1])
if not document then return 'gone' end
local d = cjson.decode(document)
if d.v ~= 1 and d.v ~= 2 then return redis.error_reply('another version of the document') end
return string.format('%s %.0f %.0f %s ', d.source, d.seq, d.expires_at, d.action) .. document
