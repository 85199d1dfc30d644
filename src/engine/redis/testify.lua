-- A node says what it knows to have been acknowledged and announced. If this server lacks some of it, and no takeover since
-- then was told as a possible loss, one begins.
-- KEYS 1 fence, then positions.
-- ARGV 1 number of appends, then of each the replid, the offset of replication and the age in milliseconds; then of each
-- position the epoch, the offset and the age.
-- Returns { generation, number of losses }.

-- A loss that was known before the last takeover with a possible loss was told by it. Ages are counted, so that no two clocks
-- are compared, and are rounded down.
local function was_told(age)
  local known = now + 1 - tonumber(age)
  return begins_lossy or (known < tonumber(fence.lossy_time) and tonumber(fence.lossy_time) <= now)
end

read_whole_fence(KEYS[1], fence)

local function has_history(of, up_to)
  if of == replid then return true end
  for before, has in string.gmatch(fence.links, '(%x+):([%d-]+)') do
    if before == of then return has == '-' or tonumber(has) >= up_to end
  end
  return false
end

local function has_id(position, epoch, id, age)
  if position.epoch ~= epoch then
    for past, last in string.gmatch(position.forks, '([^,:]+):(%d+)') do
      if past == epoch then return id <= tonumber(last) end
    end
    return tonumber(age) >= POSITION_MILLISECONDS -- The topic has aged out, and began anew.
  end
  if id > tonumber(position.last) then return false end
  for from, to in string.gmatch(position.holes, '(%d+):(%d+)') do
    if id > tonumber(from) and id < tonumber(to) then return false end
  end
  return true
end

local lost, argument = 0, 2
for _ = 1, tonumber(ARGV[1]) do
  if not has_history(ARGV[argument], tonumber(ARGV[argument + 1])) and not was_told(ARGV[argument + 2]) then
    lost = lost + 1
  end
  argument = argument + 3
end
for index = 2, #KEYS do
  local position = read_position(KEYS[index])
  -- A topic that is not there has aged out, or its clients are told by its new epoch.
  if is_current(position) and not has_id(position, ARGV[argument], tonumber(ARGV[argument + 1]), ARGV[argument + 2])
    and not was_told(ARGV[argument + 2]) then
    lost = lost + 1
  end
  argument = argument + 3
end
if lost > 0 then
  begin_generation(true)
  write_fence(KEYS[1], fence)
end
return { fence.generation, lost }
