-- Appends publications, each with the record of its key, and announces what they append: one step, and an answer for each.
-- KEYS 1 fence; then for each publication its position, its log, and the record of its key (only with a key)
-- ARGV for each publication: 1 channel, 2 epoch if one begins, 3 messages kept, 4 milliseconds kept, 5 "1" to end the topic,
--      6 number of messages, 7 -; or 7 once, 8 digest; or 7 step, 8 writer, 9 items, 10 first position or -, 11 digest;
--      then the publisher's part of each message
-- Returns { `<generation> <replid> <offset of replication>`, answer, … }: a server that was promoted has what was appended if it
-- has the history of this replid up to that offset.
-- An answer is `<epoch> <offset of the last message or -> <offset of the end or ->`, CONFLICT, TAKEN, `ENDED <epoch> <offset>`,
-- or `ERROR <error>`, after which it is unknown what was appended.
local reached = offset

-- A server that was replaced may have given ids after `last`. The jump leads past all of them, and depends on the server, so
-- that two servers that took over in turn do not give the same id.
local function jump_of(position)
  local jump = 4294967296 + tonumber(string.sub(replid, 1, 7), 16)
  local holes = { position.last .. ':' .. string.format('%.0f', position.last + jump) }
  for hole in string.gmatch(position.holes, '%d+:%d+') do
    if #holes < 8 then holes[#holes + 1] = hole end
  end
  position.holes = table.concat(holes, ',')
  return jump
end

-- Appends the publication whose keys begin at `key`, whose arguments are after `at` and whose messages are after `contents`.
local function append(key, at, contents)
  local kind, digest = ARGV[at + 7], ARGV[contents]
  local record = kind ~= '-' and redis.call('GET', KEYS[key + 2])
  if record and kind == 'once' then
    local earlier, answer = string.match(record, '^o (%S+) (.+)$')
    if earlier ~= digest then return 'CONFLICT' end
    -- WAIT counts from this connection's last write: without one it would not wait for the first publication.
    if ACKNOWLEDGE > 0 then redis.call('PEXPIRE', KEYS[key + 2], redis.call('PTTL', KEYS[key + 2])) end
    return answer
  end
  local first, stream_last = '-', '-'
  if record then
    local writer
    writer, first, stream_last = string.match(record, '^s (%S+) %d+ (%S+) (%S+)')
    if writer ~= ARGV[at + 8] then return 'TAKEN' end
  end
  if connected < ACKNOWLEDGE then
    return 'ERROR NOREPLICAS ' .. connected .. ' replicas are connected, ' .. ACKNOWLEDGE .. ' must acknowledge'
  end

  local position = read_position(KEYS[key])
  local is_replaced = false
  if not position then
    position = new_position(ARGV[at + 2])
  elseif not is_current(position) then
    begin_epoch(position, ARGV[at + 2], KEYS[key + 1])
    position.is_changed = true
  elseif position.generation ~= fence.generation then
    is_replaced, position.is_changed = true, true
  end
  position.generation = fence.generation
  if position.ended ~= '-' then
    write_position(KEYS[key], position)
    return 'ENDED ' .. position.epoch .. ' ' .. position.last
  end
  local jump = is_replaced and jump_of(position) or 1

  local received_before = tonumber(position.received)
  if now < received_before then
    position.clamp = position.last .. ':' .. now_text
    position.is_changed = true
  end
  if now > tonumber(position.time) then position.time = now_text end

  local function next_entry(content)
    local previous, received = position.last, position.received
    position.last, position.received = string.format('%.0f', previous + jump), now_text
    jump = 1
    return write_entry(position, previous, received, content)
  end

  local count, texts, message, finish = tonumber(ARGV[at + 6]), {}, '-', '-'
  for nth = 1, count do
    texts[nth] = next_entry(ARGV[contents + nth])
    if nth == 1 and first == '-' and kind == 'step' then
      first = ARGV[at + 10] ~= '-' and ARGV[at + 10] or position.epoch .. ':' .. position.last
    end
    message = position.last
  end
  local end_text
  if ARGV[at + 5] == '1' then
    position.ended = position.last .. ':' .. position.received .. ':' .. position.time
    position.is_changed = true
    end_text = next_entry('e\n\n')
    finish = position.last
  end
  -- The first write: a full server refuses it, and nothing has happened.
  write_position(KEYS[key], position, received_before)
  reached = offset + APPEND_BYTES
  if position.is_new then redis.call('DEL', KEYS[key + 1]) end
  local messages_max = tonumber(ARGV[at + 3])
  if count > 0 and messages_max > 0 then
    local length = redis.call('RPUSH', KEYS[key + 1], unpack(texts))
    if length > messages_max then redis.call('LTRIM', KEYS[key + 1], -messages_max, -1) end
    -- The log lives for another while after each message. It is told so once in each step of that while, for a step more.
    local step = math.ceil(ARGV[at + 4] / 16)
    if length == count or math.floor(now / step) ~= math.floor(received_before / step) then
      redis.call('PEXPIRE', KEYS[key + 1], ARGV[at + 4] + step)
    end
  end
  for nth = 1, count do redis.call('PUBLISH', ARGV[at + 1], texts[nth]) end
  if end_text then redis.call('PUBLISH', ARGV[at + 1], end_text) end
  local answer = position.epoch .. ' ' .. message .. ' ' .. finish
  if kind == 'once' then
    redis.call('SET', KEYS[key + 2], 'o ' .. digest .. ' ' .. answer, 'EX', KEY_SECONDS)
  elseif kind == 'step' then
    if message ~= '-' then stream_last = position.epoch .. ':' .. message end
    if first == '-' then first = ARGV[at + 10] end
    if finish ~= '-' then finish = position.epoch .. ':' .. finish end
    local fields = { 's', ARGV[at + 8], ARGV[at + 9], first, stream_last, finish, digest }
    redis.call('SET', KEYS[key + 2], table.concat(fields, ' '), 'EX', KEY_SECONDS)
  end
  return answer
end

local widths = { ['-'] = 7, once = 8, step = 11 }
local answers, key, at = {}, 2, 0
while at < #ARGV do
  local kind = ARGV[at + 7]
  local contents = at + widths[kind]
  local is_done, answer = pcall(append, key, at, contents)
  if not is_done then answer = 'ERROR ' .. (type(answer) == 'table' and answer.err or tostring(answer)) end
  answers[#answers + 1] = answer
  key = key + (kind == '-' and 2 or 3)
  at = contents + ARGV[at + 6]
end
table.insert(answers, 1, fence.generation .. ' ' .. replid .. ' ' .. string.format('%.0f', reached))
return answers
