-- Appends a publication, with the record of its key, to its topic and to the feeds of that, and announces what it appends.
-- Whoever calls it has in KEYS at an index `key` the name of the topic, which its other keys begin with, then the record of its
-- key (only with a key), and the names of the topic's feeds; in ARGV 1 what epochs that begin are named by, and 2 what channels
-- begin with, or nothing where a topic's channel has its name; and after an index `at` of a list of values:
--   1 its shape, `<messages kept> <milliseconds kept> <1 to end the topic> <number of messages> <kind>`, and for a keyed topic
--     ` keyed`, where the first number is that of its keys, and ` <number of feeds>` for one that has some; then for a keyed topic
--     the condition (append-keyed.lua); of the kind once: 2 digest; of the kind step: 2 writer, 3 items, 4 first position or -,
--     5 digest; then of each message its key, only for a keyed topic, and the publisher's part; then for a topic that has feeds
--     what they get (append-feeds.lua). Each argument takes the node 0.1 us to send.
-- `append` returns `<epoch> <offset of the last message or -> <offset of the end or ->`, and the same of each feed, but not for
-- what a key repeats, which is not appended again; or CONFLICT, TAKEN, `ENDED <epoch> <offset>`,
-- `MISMATCH <epoch> <offset of the value or ->`, `ABSENT <epoch> <offset>` or `FULL <keys> <most keys>`.
local reached = offset
local format = string.format

local keyed -- append-keyed.lua

-- A server that was replaced may have given ids after `last`. The jump leads past all of them, and depends on the server, so
-- that two servers that took over in turn do not give the same id.
local function jump_of(position)
  local jump = 4294967296 + tonumber(string.sub(replid, 1, 7), 16)
  local holes = { position.last .. ':' .. format('%.0f', position.last + jump) }
  for hole in string.gmatch(position.holes, '%d+:%d+') do
    if #holes < 8 then holes[#holes + 1] = hole
    elseif position.removals then keyed.close_hole(position, hole) end
  end
  position.holes = table.concat(holes, ',')
  return jump
end

-- The text of the entry after a position, which moves there. Its offset is not formatted by %d, which ends at 2 ** 31 where
-- Redis has 32 bits, and a takeover jumps past that.
local function next_entry(position, jump, content)
  local previous, received = position.last, position.received
  position.last, position.received = format('%.0f', previous + jump), now_text
  return write_entry(position, previous, received, content)
end

-- Shapes by their text: most publications of a call have the same.
local shapes, arguments_of = {}, { none = 1, once = 2, step = 5, feed = 1 }
local function shape_of(text)
  local shape = shapes[text]
  if shape then return shape end
  local messages_max, kept, ends, count, kind, suffix, feeds =
    string.match(text, '^(%d+) (%d+) (%d) (%d+) (%a+)( ?%a*) ?(%d*)$')
  local is_keyed, width = suffix == ' keyed', suffix == ' keyed' and 2 or 1
  ends, count, feeds = ends == '1', tonumber(count), tonumber(feeds) or 0
  local before_contents = arguments_of[kind] + (is_keyed and 1 or 0)
  local has_record = kind == 'once' or kind == 'step'
  local own_keys, before_fed = has_record and 2 or 1, before_contents + count * width
  local before_feeds = feeds == 0 and before_fed or before_fed + count + (ends and 1 or 0)
  shape = {
    messages_max = tonumber(messages_max), kept_milliseconds = tonumber(kept), ends = ends, count = count, kind = kind,
    is_keyed = is_keyed, has_record = has_record, own_keys = own_keys, feeds = feeds, keys = own_keys + feeds,
    before_contents = before_contents, before_fed = before_fed, before_feeds = before_feeds, arguments = before_feeds + feeds,
    width = width, -- Arguments of a message.
    -- As text: Redis formats a number for a command by all its digits.
    trim_from = '-' .. messages_max,
    -- The log lives for another while after each message. It is told so once in each step of that while, for a step more.
    step = math.ceil(kept / 16),
  }
  shapes[text] = shape
  return shape
end

-- No two topics have one epoch. Names of one length differ because no two calls have the same beginning.
local begun = 0
local function new_epoch()
  begun = begun + 1
  return ARGV[1] .. format('%03d', begun)
end

local function channel_of(name)
  if ARGV[2] == '' then return name end
  return ARGV[2] .. string.match(name, '{.*')
end

-- values: ARGV, or what a feed gets, or what becomes of who is here
local function append(shape, key, values, at)
  local kind, contents, name = shape.kind, at + shape.before_contents, KEYS[key]
  local position_key, log, record_key = name .. ':p', name .. ':l', KEYS[key + 1]
  local digest = values[contents]
  local record = shape.has_record and call('GET', record_key)
  if record and kind == 'once' then
    local earlier, answer = string.match(record, '^o (%S+) (.+)$')
    if earlier ~= digest then return 'CONFLICT' end
    -- WAIT counts from this connection's last write: without one it would not wait for the first publication.
    if ACKNOWLEDGE > 0 then call('PEXPIRE', record_key, call('PTTL', record_key)) end
    return answer
  end
  local first, stream_last = '-', '-'
  if record then
    local writer
    writer, first, stream_last = string.match(record, '^s (%S+) %d+ (%S+) (%S+)')
    if writer ~= values[at + 2] then return 'TAKEN' end
  end

  local position, jump, is_keyed, width = read_position(position_key, true), 1, shape.is_keyed, shape.width
  if is_keyed and not keyed then keyed = make_keyed() end
  if not position then
    position = new_position(new_epoch(), is_keyed)
    position.generation = fence.generation
  elseif position.generation ~= fence.generation or is_keyed ~= (position.removals and true or false) then
    change_position(position_key, position)
    if not is_current(position, is_keyed) then begin_epoch(position, new_epoch(), log, is_keyed)
    elseif position.ended == '-' then jump = jump_of(position) end
    position.generation = fence.generation
  end
  if position.ended ~= '-' and kind == 'feed' then
    -- It was no feed when it ended. Nothing of what it had is kept.
    change_position(position_key, position)
    begin_epoch(position, new_epoch(), log, false)
    position.ended, position.is_new, jump = '-', true, 1
  elseif position.ended ~= '-' then
    if position.is_changed then write_position(position_key, position) end
    return 'ENDED ' .. position.epoch .. ' ' .. position.last
  end
  local has, frees
  if is_keyed then
    local refusal
    refusal, has, frees = keyed.look_at_keys(position_key, position, shape, values, at)
    if refusal then
      -- The next append jumps over the same offsets, if this one would have.
      if jump == 1 and (position.is_new or position.is_changed) then write_position(position_key, position) end
      return refusal
    end
  end

  local received_before = tonumber(position.received)
  if now < received_before then
    change_position(position_key, position)
    position.clamp = position.last .. ':' .. now_text
    if is_keyed then keyed.clock_was_set_back(position) end
  end
  -- The same text as `received`, unless the clock was set back.
  local time_before = position.time == position.received and received_before or tonumber(position.time)
  if now > time_before then position.time = now_text end

  local count, texts, message, finish, end_text = shape.count, {}, '-', '-', nil
  for nth = 1, count do
    texts[nth] = next_entry(position, jump, values[contents + nth * width])
    jump = 1
    if nth == 1 and first == '-' and kind == 'step' and values[at + 4] == '-' then
      first = position.epoch .. ':' .. position.last
    end
    message = position.last
  end
  if shape.ends then
    change_position(position_key, position)
    position.ended = position.last .. ':' .. position.received .. ':' .. position.time
    end_text = next_entry(position, jump, 'e\n\n')
    finish = position.last
  end
  -- What only frees goes on after this though the server is full.
  if frees then keep_position(position_key, position) end
  -- The first write: a full server refuses it, and nothing has happened.
  write_position(position_key, position, received_before)
  reached = offset + APPEND_BYTES
  local messages_max = shape.messages_max
  if is_keyed then
    keyed.keep_entries(position_key, position, shape, values, contents, texts, tonumber(message), has)
  elseif count > 0 and messages_max > 0 then
    local length = call('RPUSH', log, unpack(texts))
    if length > messages_max then call('LTRIM', log, shape.trim_from, '-1') end
    local step = shape.step
    if length == count or now - received_before > now % step then
      call('PEXPIRE', log, shape.kept_milliseconds + step)
    end
  end
  local channel = channel_of(name)
  for nth = 1, count do call('PUBLISH', channel, texts[nth]) end
  if end_text then call('PUBLISH', channel, end_text) end
  local answer, of_feeds = position.epoch .. ' ' .. message .. ' ' .. finish, ''
  if shape.feeds > 0 then
    local fed = fed_values(shape, at, position.epoch, message, finish)
    for nth = 1, shape.feeds do
      fed[1] = ARGV[at + shape.before_feeds + nth]
      of_feeds = of_feeds .. ' ' .. append(shape_of(fed[1]), key + shape.own_keys - 1 + nth, fed, 0)
    end
  end
  -- After the feeds, so that no repetition is answered for what a feed lacks.
  if kind == 'once' then
    call('SET', record_key, 'o ' .. digest .. ' ' .. answer, 'EX', KEY_SECONDS)
  elseif kind == 'step' then
    if message ~= '-' then stream_last = position.epoch .. ':' .. message end
    if first == '-' then first = values[at + 4] end
    if finish ~= '-' then finish = position.epoch .. ':' .. finish end
    local fields = { 's', values[at + 2], values[at + 3], first, stream_last, finish, digest }
    call('SET', record_key, table.concat(fields, ' '), 'EX', KEY_SECONDS)
  end
  return answer .. of_feeds
end
