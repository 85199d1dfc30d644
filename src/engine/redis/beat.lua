-- The beat of a node, once a second: it shows that both ways live, and whether the server takes what is published.
-- It is announced with the number of full resyncs: a replica that is filled anew loses announcements.
-- It writes nothing, so that a server that is full, or cannot write to its disk, answers it.
-- KEYS 1 fence, 2 a key that never exists. ARGV 1 channel, 2 number of the beat.
-- Returns { replid, generation, last generation with a possible loss, when that began, why the server refuses to write or
-- nothing }.
local resyncs = string.match(redis.call('INFO', 'stats'), 'sync_full:(%d+)') or '0'
redis.call('PUBLISH', ARGV[1], ARGV[2] .. ' ' .. resyncs)
-- With XX it changes nothing, and is refused like every other write.
local written = redis.pcall('SET', KEYS[2], '', 'XX')
return { replid, fence.generation, fence.lossy, fence.lossy_time, written and written.err or '' }
