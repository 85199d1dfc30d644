-- Begins every script that runs at a replica. It writes nothing, and answers only where the replica is in the generation that
-- the node knows of the primary.
-- KEYS 1 fence. The last of ARGV is that generation. Returns STALE where the replica is in another one.
local info = redis.call('INFO', 'replication')
local at = string.find(info, 'master_replid:', 1, true)
local fence = redis.call('GET', KEYS[1])
local current, lossy, lossy_time
if fence then current, lossy, lossy_time = string.match(fence, '^%x+ (%d+) (%d+) (%d+) ') end
if not at or not string.find(info, 'role:slave', 1, true) or not current or current ~= ARGV[#ARGV]
  or string.sub(fence, 1, 40) ~= string.sub(info, at + 14, at + 53) then
  return 'STALE'
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000) + CLOCK_AHEAD
