-- The offset of the last message, which the end of a topic follows, and when it was received.
local function last_message(position)
  local message, message_received = string.match(position.ended, '^(%d+):(%d+):')
  return tonumber(message or position.last), tonumber(message_received or position.received)
end

-- What is kept of a topic: the entries from the index `first` on. Those before it are too old.
local function open_log(key, position, kept_milliseconds)
  local last, received = last_message(position)
  local log = { length = redis.call('LLEN', key), first = 0 }
  local clamp_offset, clamp_time = string.match(position.clamp, '^(%d+):(%d+)$')
  clamp_offset, clamp_time = tonumber(clamp_offset or '-1'), tonumber(clamp_time or '0')
  -- The clock was set back: what it gave before counts as received at that moment, or it would be kept until the clock
  -- reached the wrong time again.
  local function received_at(offset, time)
    if offset <= clamp_offset and time > clamp_time then return clamp_time end
    return time
  end
  function log.entry(index)
    local entry = read_entry(redis.call('LINDEX', key, index))
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
