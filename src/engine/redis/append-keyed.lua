-- What append.lua does with a keyed topic.
-- A condition is - for none, ! for a key without a value, * for one with a value, or = and the ids that its value may have, each
-- after a comma.
-- Made by the first publication to a keyed topic in a call: each closure takes the calls that need none of them 0.1 us.
local function make_keyed()
  local entries, offsets, removed -- The keys of the topic in hand (stored.lua).

  -- offset: of the key's value; - where it has none
  local function is_met(condition, epoch, offset)
    if condition == '!' then return offset == '-' end
    if condition == '*' then return offset ~= '-' end
    return offset ~= '-' and string.find(condition .. ',', ',' .. epoch .. '-' .. offset .. ',', 1, true) ~= nil
  end

  -- Whether the publisher's part of an entry takes its key away (entry.ts).
  local function is_removal(content)
    return string.byte(content) == 82 -- R
  end

  -- Whether removals are kept: then it is known when the oldest is to be forgotten.
  local function has_removals(position)
    return string.byte(position.removals, -1) ~= 45 -- -
  end

  -- Returns why a publication is refused, or nothing; whether each of its keys has a value; and whether it only frees.
  local function look_at_keys(position_key, position, shape, values, at)
    entries, offsets, removed = keyed_keys(position_key)
    local has, added, frees, condition = {}, 0, shape.count > 0, values[at + 2]
    local contents = at + shape.before_contents
    local may_be_removed = has_removals(position)
    for nth = 1, shape.count do
      local key = values[contents + 2 * nth - 1]
      local has_value = not position.is_new and call('HEXISTS', entries, key) == 1
        and not (may_be_removed and call('ZSCORE', removed, key))
      if condition ~= '-' then
        local offset = has_value and call('ZSCORE', offsets, key) or '-'
        if not is_met(condition, position.epoch, offset) then return 'MISMATCH ' .. position.epoch .. ' ' .. offset end
      end
      if is_removal(values[contents + 2 * nth]) then
        if not has_value then return 'ABSENT ' .. position.epoch .. ' ' .. position.last end
      else
        if not has_value and has[key] == nil then added = added + 1 end
        frees = false
      end
      has[key] = has_value
    end
    if added > 0 and not position.is_new then
      local length = call('ZCARD', offsets) - call('ZCARD', removed)
      if length + added > shape.messages_max then return 'FULL ' .. length .. ' ' .. shape.messages_max end
    elseif added > shape.messages_max then
      return 'FULL 0 ' .. shape.messages_max
    end
    return nil, has, frees
  end

  local function read_removals(position)
    local floor, received, due = string.match(position.removals, '^(%d+):(%d+):(%S+)$')
    return tonumber(floor), tonumber(received), tonumber(due)
  end

  local function write_removals(position, floor, received, due)
    position.removals = string.format('%.0f:%.0f:', floor, received) .. (due and string.format('%.0f', due) or '-')
  end

  -- Removals that were received later count as received now: when the oldest is to be forgotten is found anew.
  local function clock_was_set_back(position)
    local floor, received, due = read_removals(position)
    write_removals(position, floor, math.min(received, now), due and 0)
  end

  -- A place in what a takeover skipped is a gap for as long as the hole is known, and after that because it is below the floor.
  local function close_hole(position, hole)
    local floor, received, due = read_removals(position)
    write_removals(position, math.max(floor, tonumber(string.match(hole, ':(%d+)$'))), received, due)
  end

  -- Forgets removals, the oldest first, that are too old or too many, and says when the next is to be forgotten.
  local function forget_removals(position_key, position, shape, most)
    local floor, received, due = read_removals(position)
    if not position.clamp then change_position(position_key, position) end
    local received_at = clock_of(position)
    due = 0
    for _ = 1, most do
      local key = call('ZRANGE', removed, 0, 0)[1]
      if not key then
        due = nil
        break
      end
      local entry = read_entry(call('HGET', entries, key))
      local entry_received = received_at(entry.offset, entry.received)
      if entry_received >= now - shape.kept_milliseconds and call('ZCARD', removed) <= shape.messages_max then
        due = entry_received + shape.kept_milliseconds + 1
        break
      end
      call('HDEL', entries, key)
      call('ZREM', offsets, key)
      call('ZREM', removed, key)
      floor, received = math.max(floor, entry.offset), math.max(received, entry_received)
    end
    write_removals(position, floor, received, due)
  end

  -- Puts each entry in the place of what its key had. last: the offset of the last of them
  local function keep_entries(position_key, position, shape, values, contents, texts, last, has)
    local before, count, changes, removals = position.removals, shape.count, shape.ends, 0
    local fields, scores = {}, {}
    for nth = 1, count do
      local key, at = values[contents + 2 * nth - 1], 2 * nth
      fields[at - 1], fields[at] = key, texts[nth]
      scores[at - 1], scores[at] = string.format('%.0f', last - count + nth), key
    end
    if count > 0 then
      call('HSET', entries, unpack(fields))
      call('ZADD', offsets, unpack(scores))
    end
    for nth = 1, count do
      local key, offset = fields[2 * nth - 1], scores[2 * nth - 1]
      if is_removal(values[contents + 2 * nth]) then
        call('ZADD', removed, offset, key)
        has[key], changes, removals = false, true, removals + 1
      elseif not has[key] then
        if removals > 0 or has_removals(position) then call('ZREM', removed, key) end
        has[key], changes = true, true
      end
    end
    if removals > 0 or has_removals(position) then
      local _, _, due = read_removals(position)
      if not due or now >= due or call('ZCARD', removed) > shape.messages_max then
        forget_removals(position_key, position, shape, 16 + removals)
      end
    end
    if position.removals ~= before then call('HSET', position_key, 'removals', position.removals) end
    if changes then keep_position(position_key, position) end
  end

  return {
    look_at_keys = look_at_keys, keep_entries = keep_entries, close_hole = close_hole,
    clock_was_set_back = clock_was_set_back,
  }
end
