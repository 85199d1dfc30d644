-- Begins every script that runs at a replica. It writes nothing, and answers only where the replica is in the generation that
-- the node knows of the primary.
-- KEYS 1 fence. The last of ARGV, which is taken off, is that generation. Returns STALE where the replica is in another one.
local generation = table.remove(ARGV)
local info = redis.call('INFO', 'replication')
fence = read_fence(KEYS[1])
if not string.find(info, 'role:slave', 1, true) or not fence or fence.generation ~= generation
  or fence.replid ~= string.match(info, 'master_replid:(%x+)') then
  return 'STALE'
end
local clock = redis.call('TIME')
now = clock[1] * 1000 + math.floor(clock[2] / 1000) + CLOCK_AHEAD
