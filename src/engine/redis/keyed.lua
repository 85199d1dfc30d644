-- What is kept of a keyed topic: the entry of each key, in the order of offsets. Ranks count from 0.
local function open_keyed(position_key, position, kept_milliseconds)
  local entries, offsets, removed = keyed_keys(position_key)
  local received_at, oldest = clock_of(position), now - kept_milliseconds
  local topic = { length = call('ZCARD', offsets), removals = call('ZCARD', removed) }
  local function entry_of(set, rank)
    local entry = read_entry(call('HGET', entries, call('ZRANGE', set, rank, rank)[1]))
    entry.received = received_at(entry.offset, entry.received)
    return entry
  end
  function topic.entry(rank)
    return entry_of(offsets, rank)
  end
  function topic.offset(rank)
    return tonumber(call('ZRANGE', offsets, rank, rank, 'WITHSCORES')[2])
  end
  -- the number of values from a rank on
  function topic.values_from(rank)
    local first = call('ZRANGE', offsets, rank, rank, 'WITHSCORES')[2]
    return topic.length - rank - call('ZCOUNT', removed, first, '+inf')
  end
  -- the texts of the first entries after an offset, at most `most`
  function topic.after(offset, most)
    local keys = call('ZRANGE', offsets, '(' .. string.format('%.0f', offset), '+inf', 'BYSCORE', 'LIMIT', 0, most)
    return #keys > 0 and call('HMGET', entries, unpack(keys)) or {}
  end
  -- the first rank below `length` for which it holds, and then for all after it
  function topic.search(length, holds)
    local low, high = 0, length
    while low < high do
      local middle = math.floor((low + high) / 2)
      if holds(middle) then high = middle else low = middle + 1 end
    end
    return low
  end
  local floor, forgotten = string.match(position.removals, '^(%d+):(%d+):')
  topic.floor, topic.forgotten = tonumber(floor), tonumber(forgotten)
  -- Removals that are too old, though no append has forgotten them yet.
  local kept = topic.search(topic.removals, function(rank) return entry_of(removed, rank).received >= oldest end)
  if kept > 0 then
    local newest = entry_of(removed, kept - 1)
    topic.floor = math.max(topic.floor, newest.offset)
    topic.forgotten = math.max(topic.forgotten, newest.received)
  end
  return topic
end
