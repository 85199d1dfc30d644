-- Begins every script. Finds out whether this server may have lost something since the last script ran.
-- KEYS 1 fence. Literals: LOSSLESS (true or false), ACKNOWLEDGE (replicas that acknowledge each append),
-- CLOCK_AHEAD (0, except in tests)
-- Sets: now, in milliseconds; replid; current, the generation; lossy, the last generation that began with a possible loss;
-- lossy_time, when that was; replicas, the most that were ever connected.
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end
local at = string.find(info, 'master_replid:', 1, true)
if not at then return redis.error_reply('NOREPLID this server hides master_replid') end
local replid = string.sub(info, at + 14, at + 53)
local connected = tonumber(string.match(info, 'connected_slaves:(%d+)'))
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000) + CLOCK_AHEAD
-- `<replid> <generation> <lossy> <lossy time> <replicas> <run id>`
local fence = redis.call('GET', KEYS[1])
local current, lossy, lossy_time, replicas
if fence then current, lossy, lossy_time, replicas = string.match(fence, '^(%d+) (%d+) (%d+) (%d+) ', 42) end
local same = current and string.sub(fence, 1, 40) == replid
if not same or connected > tonumber(replicas) then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  if not current then
    -- A new or a flushed server. The generation is a time, so that none from before the flush comes again.
    current = string.format('%.0f', now)
    lossy, lossy_time, replicas = current, current, connected
  else
    local seen = tonumber(replicas)
    replicas = math.max(seen, connected)
    if not same then
      -- The server was started or promoted, or gave itself another id.
      local promoted = not string.find(info, 'master_replid2:0000000000000000000000000000000000000000', 1, true)
      local renamed = not promoted and string.sub(fence, -40) == run
      local reread = not promoted and not renamed and seen == 0
        and string.find(redis.call('INFO', 'persistence'), 'aof_enabled:1', 1, true)
      -- The same process renames itself when its first replica comes, which may have left before this script.
      if renamed then replicas = math.max(replicas, 1) end
      -- A failover promotes a replica. A primary that was restarted may have less than its replicas had acknowledged.
      local vouched = promoted and LOSSLESS and ACKNOWLEDGE >= replicas
      current = string.format('%.0f', current + 1)
      if not (renamed or reread or vouched) then lossy, lossy_time = current, string.format('%.0f', now) end
    end
  end
  -- A script that has written may go on to write though the server is full, and this needs no room: so a full server is
  -- taken over, and can be read.
  redis.call('PERSIST', KEYS[1])
  redis.call('SET', KEYS[1], table.concat({ replid, current, lossy, lossy_time, replicas, run }, ' '))
end
