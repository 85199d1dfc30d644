-- Begins every script at the primary. Finds out whether this server may have lost something since the last script ran.
-- docs/clustering.md has the rules.
-- KEYS 1 fence. The last two of ARGV, which are taken off, are the generation and the replid of the newest fence that the node
-- has seen, or nothing.
-- Sets: now, in milliseconds, and as a text; replid and offset, which INFO says; connected, the replicas; fence.
local seen_replid, seen_generation = table.remove(ARGV), table.remove(ARGV)
local clock = redis.call('TIME')
now = clock[1] * 1000 + math.floor(clock[2] / 1000) + CLOCK_AHEAD
local now_text = string.format('%.0f', now)
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end
local at = string.find(info, 'master_replid:', 1, true)
if not at then return redis.error_reply('NOREPLID this server hides master_replid') end
local replid = string.sub(info, at + 14, at + 53)
local offset = string.match(info, '^%d+', at + 132) -- After two lines of 40 digits each: master_repl_offset.
local connected = tonumber(string.match(info, 'connected_slaves:(%d+)'))
fence = read_fence(KEYS[1])
-- Nodes with another setting have taken over (agree.lua): a step of this one would begin new epochs.
if fence and fence.kinds and fence.kinds ~= KINDS then
  return redis.error_reply('KINDS the nodes of this Redis have other --keyed, --feed or --presence')
end

-- A newer fence was seen elsewhere: this server was replaced, and the address leads back to it. Two servers may have come to
-- one generation by different ways. A fence that was seen with this server's own replid is its own.
local is_older = fence and seen_generation ~= '' and seen_replid ~= replid and (tonumber(seen_generation) > tonumber(fence.generation)
  or seen_generation == fence.generation and seen_replid ~= fence.replid)
local is_same = fence and fence.replid == replid
local begins_lossy = false

local function begin_generation(is_lossy)
  local last = math.max(tonumber(fence.generation), tonumber(seen_generation) or 0)
  fence.replid, fence.generation = replid, string.format('%.0f', last + 1)
  if is_lossy then fence.lossy, fence.lossy_time = fence.generation, string.format('%.0f', now) end
  begins_lossy = begins_lossy or is_lossy
end

if not is_same or is_older or fence.is_string or (connected > 0 and fence.followed == '0') then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local replid2, second_offset = string.match(info, 'master_replid2:(%x+).-second_repl_offset:(%-?%d+)', at)
  if fence then read_whole_fence(KEYS[1], fence) end
  if not fence then
    -- A new or a flushed server. The generation is a time, so that none from before the flush comes again.
    fence = { generation = string.format('%.0f', now - 1), followed = '0', links = '-', promoted = '0' }
    begin_generation(true)
  elseif not is_same then
    -- The server was started or promoted, or gave itself another id.
    local is_promoted = string.find(replid2, '[^0]')
    local is_renamed = not is_promoted and fence.run == run
    -- Where replicas were, the one that restarts may be a stale one of them.
    local is_reread = not is_promoted and not is_renamed and fence.followed == '0'
      and string.find(redis.call('INFO', 'persistence'), 'aof_enabled:1', 1, true)
    -- The same process renames itself when its first replica comes, which may have left before this script.
    if is_renamed then fence.followed = '1' end
    local link = fence.replid .. ':-'
    if is_promoted then link = replid2 .. ':' .. string.format('%.0f', second_offset - 1) end
    local links = { link }
    for before in string.gmatch(fence.links, '%x+:[%d-]+') do
      if #links < 8 then links[#links + 1] = before end
    end
    fence.links = table.concat(links, ',')
    -- The node has seen this takeover, which could not be written: it keeps its generation.
    if seen_replid == replid then seen_generation = tonumber(seen_generation) - 1 end
    begin_generation(is_older or not (is_renamed or is_reread or (is_promoted and LOSSLESS)))
    if is_promoted then fence.promoted = fence.generation end
  elseif is_older then
    begin_generation(true)
  end
  if connected > 0 then fence.followed = '1' end
  fence.run = run
  -- A server that cannot write begins the same generation in each script until it can, and is read meanwhile. A possible loss is
  -- told by new epochs, which must be written.
  local is_written, refusal = pcall(write_fence, KEYS[1], fence)
  if not is_written and begins_lossy then
    return redis.error_reply(type(refusal) == 'table' and refusal.err or refusal)
  end
end
