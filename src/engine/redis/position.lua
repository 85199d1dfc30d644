local lossy_number = tonumber(lossy)
-- A position is `<epoch> <last> <time> <received> <generation> <clamp> <forks> <end>`: the offset and the time of the last
-- entry; when it was received; the generation that appended it; where the clock was set back, as `<offset>:<time>` (log.lua);
-- the pasts before this one (forks.lua); and for a topic that has ended, whose last entry is the end, `<offset of the last
-- message>:<when that was received>:<time of the end>`. A lacking part is `-`.
local function read_position(key)
  local position = redis.call('GET', key)
  if not position then return nil end
  return string.match(position, '^(%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)')
end
