-- What is kept of a topic: the entries from the index `first` on. Those before it are too old.
local function open_log(key, position, kept_milliseconds)
  local last, received = last_message(position)
  local log = { length = call('LLEN', key), first = 0 }
  local received_at = clock_of(position)
  function log.entry(index)
    local entry = read_entry(call('LINDEX', key, index))
    entry.received = received_at(entry.offset, entry.received)
    entry.previous_received = received_at(entry.previous, entry.previous_received)
    return entry
  end
  -- the first index for which it holds, and then for all after it
  function log.search(holds)
    local low, high = 0, log.length
    while low < high do
      local middle = math.floor((low + high) / 2)
      if holds(log.entry(middle)) then high = middle else low = middle + 1 end
    end
    return low
  end
  -- the index of the first entry after an offset; found by counting where no offset was skipped
  function log.after(offset)
    local guess = log.length - (last - offset)
    if guess >= 0 and guess < log.length then
      if log.entry(guess).previous == offset then return guess end
    end
    return log.search(function(entry) return entry.offset > offset end)
  end
  log.oldest = now - kept_milliseconds
  if log.length > 0 then
    local is_kept = function(entry) return entry.received >= log.oldest end
    if not is_kept(log.entry(0)) then log.first = log.search(is_kept) end
  end
  -- the offset that the kept entries follow, and when it was received
  log.beginning, log.dropped = last, received_at(last, received)
  if log.first < log.length then
    local first = log.entry(log.first)
    log.beginning, log.dropped = first.previous, first.previous_received
  end
  if log.beginning == 0 then log.dropped = -1 end
  return log
end
