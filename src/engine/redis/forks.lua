-- Begins a new epoch after a possible loss. What a client saw of a past up to its fork's last offset is in the log, too.
local function begin_epoch(position, epoch, log)
  local list, beginning = { position.epoch .. ':' .. position.last }, nil
  local first = redis.call('LINDEX', log, 0)
  if first then beginning = read_entry(first).previous end
  for fork in string.gmatch(position.forks, '[^,]+') do
    local shared = tonumber(string.match(fork, ':(%d+)$'))
    if #list < 8 and shared and beginning and shared >= beginning then list[#list + 1] = fork end
  end
  position.epoch, position.forks, position.holes = epoch, table.concat(list, ','), '-'
end
