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
