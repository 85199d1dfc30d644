-- The beat of a node, once a second: it shows that both ways live, and whether the server takes what is published.
-- It is announced with the number of full resyncs: a replica that is filled anew loses announcements.
-- What it writes may be refused, so that a server that is full, or cannot write to its disk, answers it.
-- KEYS 1 fence, 2 a key that never exists, 3 nodes. ARGV 1 channel, 2 number of the beat, 3 node, 4 the setting of this node that
-- says which topics are keyed and which go into feeds, as a text.
-- Returns { replid, generation, last generation with a possible loss, when that began, why the server refuses to write or
-- nothing }.
local resyncs = string.match(redis.call('INFO', 'stats'), 'sync_full:(%d+)') or '0'
redis.call('PUBLISH', ARGV[1], ARGV[2] .. ' ' .. resyncs)
-- With XX it changes nothing, and is refused like every other write.
local written = redis.pcall('SET', KEYS[2], '', 'XX')
if not fence.kinds then redis.pcall('HSET', KEYS[1], 'kinds', KINDS, 'kinds_text', ARGV[4]) end
local added = redis.pcall('ZADD', KEYS[3], now_text, ARGV[3])
-- A full server refuses what adds and not what removes: it would end with no nodes, and the next one would take over (agree.lua).
if type(added) == 'number' then redis.pcall('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - NODE_MILLISECONDS) end
return { replid, fence.generation, fence.lossy, fence.lossy_time, written and written.err or '' }
