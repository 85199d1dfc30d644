-- Begins a new epoch after a possible loss. What a client saw of a past up to its fork's last offset is in the log, too.
-- The forks of a keyed topic only say which epochs it had: a gap begins with a snapshot.
-- Where the settings make a topic keyed that was none, or the reverse, nothing of what it had is kept.
local function begin_epoch(position, epoch, log, is_keyed)
  local list, beginning = { position.epoch .. ':' .. position.last }, nil
  if is_keyed ~= (position.removals and true or false) then
    position.removals = is_keyed and position.last .. ':' .. position.received .. ':-'
    position.is_new, position.was_keyed = true, not is_keyed
  elseif is_keyed then
    beginning = 0
  else
    local first = call('LINDEX', log, 0)
    if first then beginning = read_entry(first).previous end
  end
  for fork in string.gmatch(position.forks, '[^,]+') do
    local shared = tonumber(string.match(fork, ':(%d+)$'))
    if #list < 8 and shared and beginning and shared >= beginning then list[#list + 1] = fork end
  end
  position.epoch, position.forks, position.holes = epoch, table.concat(list, ','), '-'
end
