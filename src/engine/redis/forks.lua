-- Forks are `<epoch>:<last>` of the pasts that a topic had before, the newest first: what a client saw of one up to `last`
-- is in the log too.
local function add_fork(forks, epoch, last, log)
  local list, beginning = { epoch .. ':' .. last }, nil
  local first = redis.call('LINDEX', log, 0)
  if first then beginning = tonumber(string.match(first, '^%S+ %d+ %d+ %d+ (%d+)')) end
  for fork in string.gmatch(forks, '[^,]+') do
    local shared = tonumber(string.match(fork, ':(%d+)$'))
    if #list < 8 and shared and beginning and shared >= beginning then list[#list + 1] = fork end
  end
  return table.concat(list, ',')
end
