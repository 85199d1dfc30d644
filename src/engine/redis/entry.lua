-- An entry of a log: `<epoch> <offset> <time> <received> <previous> <received of previous>`, a line feed, and the publisher's
-- part (entry.ts). Its own epoch may be an older one: the topic's holds for all.
local function write_entry(position, previous, previous_received, content)
  return position.epoch .. ' ' .. position.last .. ' ' .. position.time .. ' ' .. position.received .. ' ' .. previous
    .. ' ' .. previous_received .. '\n' .. content
end

local function read_entry(text)
  local offset, received, previous, previous_received = string.match(text, '^%S+ (%d+) %d+ (%d+) (%d+) (%d+)\n')
  return {
    offset = tonumber(offset), received = tonumber(received), previous = tonumber(previous),
    previous_received = tonumber(previous_received),
  }
end

-- The clock was set back: what it gave before counts as received at that moment, or it would be kept until the clock reached
-- the wrong time again.
local function clock_of(position)
  local clamp_offset, clamp_time = string.match(position.clamp, '^(%d+):(%d+)$')
  clamp_offset, clamp_time = tonumber(clamp_offset or '-1'), tonumber(clamp_time or '0')
  return function(offset, time)
    if offset <= clamp_offset and time > clamp_time then return clamp_time end
    return time
  end
end
