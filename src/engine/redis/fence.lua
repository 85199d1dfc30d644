-- Begins every script. Finds out whether this server may have lost something since the last script ran.
-- KEYS 1 fence. Literals: LOSSLESS (true or false), ACKNOWLEDGE (replicas that acknowledge each append),
-- CLOCK_AHEAD (0, except in tests)
-- Sets: replid; current, the generation; lossy, the last generation that began with a possible loss; lossy_time, when.
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end
local at = string.find(info, 'master_replid:', 1, true)
if not at then return redis.error_reply('NOREPLID this server hides master_replid') end
local replid = string.sub(info, at + 14, at + 53)
local connected = tonumber(string.match(info, 'connected_slaves:(%d+)'))
local fence = redis.call('GET', KEYS[1])
local current, lossy, lossy_time, run, replicas
if fence then
  current, lossy, lossy_time, run, replicas = string.match(fence, '^%x+ (%d+) (%d+) (%d+) (%x+) (%d+)$')
end
local function milliseconds()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000) + CLOCK_AHEAD
end
local function set_fence()
  redis.call('SET', KEYS[1], table.concat({ replid, current, lossy, lossy_time, run, replicas }, ' '))
end
local function run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end
if not current then
  -- A new or a flushed server. The generation is a time, so that none from before the flush comes again.
  current = string.format('%.0f', milliseconds())
  lossy, lossy_time, run, replicas = current, current, run_id(), connected
  set_fence()
elseif string.sub(fence, 1, 40) ~= replid then
  -- The server was started or promoted, or gave itself another id.
  local now_run = run_id()
  local promoted = not string.find(info, 'master_replid2:0000000000000000000000000000000000000000', 1, true)
  local renamed = not promoted and now_run == run
  local reread = not promoted and now_run ~= run and tonumber(replicas) == 0
    and string.find(redis.call('INFO', 'persistence'), 'aof_enabled:1', 1, true)
  replicas = math.max(replicas, connected)
  -- The same process renames itself when its first replica comes, which may have left before this script.
  if renamed then replicas = math.max(replicas, 1) end
  local vouched = LOSSLESS and ACKNOWLEDGE >= replicas
  current, run = string.format('%.0f', current + 1), now_run
  if not (renamed or reread or vouched) then lossy, lossy_time = current, string.format('%.0f', milliseconds()) end
  set_fence()
elseif connected > tonumber(replicas) then
  replicas = connected
  set_fence()
end
