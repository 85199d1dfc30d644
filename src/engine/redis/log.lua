-- The offset of the last message, which the end of a topic follows, and when it was received.
local function last_message(last, received, ended)
  local message, message_received = string.match(ended, '^(%d+):(%d+):')
  return tonumber(message or last), message_received or received
end

-- What is kept of a topic: the entries from the index `first` on. Those before it are too old.
local function open_log(key, last, received, clamp, kept_milliseconds)
  local log = { length = redis.call('LLEN', key), first = 0 }
  local clamp_offset, clamp_time = string.match(clamp, '^(%d+):(%d+)$')
  clamp_offset, clamp_time = tonumber(clamp_offset or '-1'), tonumber(clamp_time or '0')
  -- The clock was set back: what it gave before counts as received at that moment, or it would be kept until the clock
  -- reached the wrong time again.
  local function received_at(offset, time)
    if offset <= clamp_offset and time > clamp_time then return clamp_time end
    return time
  end
  -- offset, when it was received, the offset it follows, and when that was received
  function log.head(index)
    local o, r, p, pr = string.match(redis.call('LINDEX', key, index), '^%S+ (%d+) %d+ (%d+) (%d+) (%d+)\n')
    o, p = tonumber(o), tonumber(p)
    return o, received_at(o, tonumber(r)), p, received_at(p, tonumber(pr))
  end
  -- the first index for which it holds, and then for all after it
  function log.search(holds)
    local low, high = 0, log.length
    while low < high do
      local middle = math.floor((low + high) / 2)
      if holds(log.head(middle)) then high = middle else low = middle + 1 end
    end
    return low
  end
  -- the index of the first entry after an offset; found by counting where no offset was skipped
  function log.after(offset)
    local guess = log.length - (last - offset)
    if guess >= 0 and guess < log.length then
      local _, _, previous = log.head(guess)
      if previous == offset then return guess end
    end
    return log.search(function(o) return o > offset end)
  end
  log.oldest = now - kept_milliseconds
  if log.length > 0 then
    local _, r = log.head(0)
    if r < log.oldest then log.first = log.search(function(_, r) return r >= log.oldest end) end
  end
  -- the offset that the kept entries follow, and when it was received
  log.beginning, log.dropped = last, received_at(last, tonumber(received))
  if log.first < log.length then
    local _
    _, _, log.beginning, log.dropped = log.head(log.first)
  end
  if log.beginning == 0 then log.dropped = -1 end
  return log
end
