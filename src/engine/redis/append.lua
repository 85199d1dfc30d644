-- Appends a message, the end of the topic, or both, with the record of its key, and announces what it appended: one step.
-- KEYS 1 fence, 2 position, 3 log, 4 record of the key (only with a key)
-- ARGV 1 channel, 2 the publisher's part of an entry or nothing, 3 epoch if one begins, 4 messages kept,
--      5 milliseconds kept, 6 "1" to end the topic,
--      7 once, and 8 digest; or 7 step, 8 writer, 9 items, 10 first position or -, 11 digest
-- Returns `<epoch> <offset of the message or -> <offset of the end or -> <generation> <replid> <offset of replication>`: a
-- server that was promoted has what was appended if it has the history of this replid up to that offset.
-- Or CONFLICT, TAKEN, or `ENDED <epoch> <offset>`.
local channel, content, new_epoch, messages_max, kept_milliseconds = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local ends, kind = ARGV[6] == '1', ARGV[7]

local function answered(answer, reached)
  return table.concat({ answer, fence.generation, replid, string.format('%.0f', reached) }, ' ')
end

local record = kind and redis.call('GET', KEYS[4])
if record and kind == 'once' then
  local digest, answer = string.match(record, '^o (%S+) (.+)$')
  if digest ~= ARGV[8] then return 'CONFLICT' end
  -- WAIT counts from this connection's last write: without one it would not wait for the first publication.
  if ACKNOWLEDGE > 0 then redis.call('PEXPIRE', KEYS[4], redis.call('PTTL', KEYS[4])) end
  return answered(answer, offset)
end
local first, stream_last = '-', '-'
if record then
  local writer
  writer, first, stream_last = string.match(record, '^s (%S+) %d+ (%S+) (%S+)')
  if writer ~= ARGV[8] then return 'TAKEN' end
end
if connected < ACKNOWLEDGE then
  return redis.error_reply('NOREPLICAS ' .. connected .. ' replicas are connected, ' .. ACKNOWLEDGE .. ' must acknowledge')
end

local position = read_position(KEYS[2])
local jump = 1
if not position then
  position = new_position(new_epoch)
elseif not is_current(position) then
  begin_epoch(position, new_epoch, KEYS[3])
  position.is_changed = true
elseif position.generation ~= fence.generation then
  -- A server that was replaced may have given ids after `last`. The jump leads past all of them, and depends on the
  -- server, so that two servers that took over in turn do not give the same id.
  jump = 4294967296 + tonumber(string.sub(replid, 1, 7), 16)
  position.is_changed = true
end
position.generation = fence.generation
if position.ended ~= '-' then
  write_position(KEYS[2], position)
  return 'ENDED ' .. position.epoch .. ' ' .. position.last
end
if jump > 1 then
  local holes = { position.last .. ':' .. string.format('%.0f', position.last + jump) }
  for hole in string.gmatch(position.holes, '%d+:%d+') do
    if #holes < 8 then holes[#holes + 1] = hole end
  end
  position.holes = table.concat(holes, ',')
end

local received_before = tonumber(position.received)
local now_text = string.format('%.0f', now)
if now < received_before then
  position.clamp = position.last .. ':' .. now_text
  position.is_changed = true
end
if now > tonumber(position.time) then position.time = now_text end

local function next_entry(part)
  local entry = {
    epoch = position.epoch, offset = string.format('%.0f', position.last + jump), time = position.time, received = now_text,
    previous = position.last, previous_received = position.received, content = part,
  }
  position.last, position.received, jump = entry.offset, now_text, 1
  return entry
end

local message, finish = content ~= '' and next_entry(content), nil
if ends then
  position.ended = position.last .. ':' .. position.received .. ':' .. position.time
  position.is_changed = true
  finish = next_entry('e\n\n')
end
-- The first write: a full server refuses it, and nothing has happened.
write_position(KEYS[2], position, received_before)
if position.is_new then redis.call('DEL', KEYS[3]) end
local text = message and write_entry(message)
if message and messages_max > 0 then
  local length = redis.call('RPUSH', KEYS[3], text)
  if length > messages_max then redis.call('LTRIM', KEYS[3], -messages_max, -1) end
  -- The log lives for another while after each message. It is told so once in each step of that while, for a step more.
  local step = math.ceil(kept_milliseconds / 16)
  if length == 1 or math.floor(now / step) ~= math.floor(received_before / step) then
    redis.call('PEXPIRE', KEYS[3], kept_milliseconds + step)
  end
end
if message then redis.call('PUBLISH', channel, text) end
if finish then redis.call('PUBLISH', channel, write_entry(finish)) end
local message_offset, finish_offset = message and message.offset or '-', finish and finish.offset or '-'
local answer = table.concat({ position.epoch, message_offset, finish_offset }, ' ')
if kind == 'once' then
  redis.call('SET', KEYS[4], 'o ' .. ARGV[8] .. ' ' .. answer, 'EX', KEY_SECONDS)
elseif kind == 'step' then
  if message then stream_last = position.epoch .. ':' .. message_offset end
  if first == '-' then first = ARGV[10] end
  if first == '-' then first = stream_last end
  if finish then finish_offset = position.epoch .. ':' .. finish_offset end
  local fields = { 's', ARGV[8], ARGV[9], first, stream_last, finish_offset, ARGV[11] }
  redis.call('SET', KEYS[4], table.concat(fields, ' '), 'EX', KEY_SECONDS)
end
return answered(answer, offset + APPEND_BYTES)
