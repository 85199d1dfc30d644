-- The beat of a node, once a second: it shows that both ways live, and that the node does.
-- It is announced with the number of full resyncs: a replica that is filled anew loses announcements.
-- KEYS 1 fence, 2 nodes. ARGV 1 node, 2 channel, 3 number of the beat.
-- Returns { generation, last generation with a possible loss, when that began, most replicas ever seen }.
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - NODE_MILLISECONDS)
local resyncs = string.match(redis.call('INFO', 'stats'), 'sync_full:(%d+)') or '0'
redis.call('PUBLISH', ARGV[2], ARGV[3] .. ' ' .. resyncs)
return { current, lossy, lossy_time, tostring(replicas) }
