-- Whether this node has the setting of the nodes of this Redis that says which topics are keyed and which go into feeds. It
-- takes over with its own where no node lives that has the recorded one. It runs first on each connection, and without the part
-- that begins the others, which is for nodes that agree. Where nothing is recorded, the first beat does it.
-- KEYS 1 fence, 2 nodes, 3 a key that never exists. ARGV 1 this node, 2 its setting as a text, 3 the beats that have stood still
-- for a whole lease in its eyes, or nothing.
-- Returns nothing where it agrees, 1 where it has taken over, else { the recorded setting, the beats of the nodes or nothing
-- where the server refuses to write, so that no node can beat }.
local fence, nodes, probe = unpack(KEYS)
local node, text, still = unpack(ARGV)
local recorded = redis.pcall('HMGET', fence, 'kinds', 'kinds_text') -- The fence of version 0.1 is no hash.
if recorded.err or not recorded[1] then return end
if recorded[1] == KINDS then
  -- Somebody who recorded it by hand gave the digest alone.
  if recorded[2] ~= text then redis.pcall('HSET', fence, 'kinds_text', text) end
  return
end
local written = redis.pcall('SET', probe, '', 'XX')
local others = recorded[2] or ''
if written and written.err then return { others, '' } end
local beats = redis.call('ZRANGE', nodes, 0, -1, 'WITHSCORES')
local seen = redis.sha1hex(table.concat(beats, ' '))
if #beats > 0 and seen ~= still then return { others, seen } end
redis.call('HSET', fence, 'kinds', KINDS, 'kinds_text', text)
redis.call('DEL', nodes)
-- Else the next node that asks would find nobody.
redis.call('ZADD', nodes, redis.call('TIME')[1] * 1000 + CLOCK_AHEAD, node)
return 1
