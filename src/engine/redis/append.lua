-- Appends a message, the end of the topic, or both, with the record of its key, and announces what it appended: one step.
-- KEYS 1 fence, 2 position, 3 log, 4 record of the key (only with a key)
-- ARGV 1 channel, 2 the publisher's part of an entry or nothing, 3 epoch if one begins, 4 messages kept,
--      5 milliseconds kept, 6 "1" to end the topic,
--      7 once, and 8 digest; or 7 step, 8 writer, 9 items, 10 first position or -, 11 digest
-- Returns `<epoch> <offset of the message or -> <offset of the end or ->`, or CONFLICT, TAKEN, or `ENDED <epoch> <offset>`.
local record = ARGV[7] and redis.call('GET', KEYS[4])
if record and ARGV[7] == 'once' then
  local digest, answer = string.match(record, '^o (%S+) (.+)$')
  if digest ~= ARGV[8] then return 'CONFLICT' end
  -- WAIT counts from this connection's last write: without one it would not wait for the first publication.
  if ACKNOWLEDGE > 0 then redis.call('PEXPIRE', KEYS[4], redis.call('PTTL', KEYS[4])) end
  return answer
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
local epoch, last, time, received, generation, clamp, forks, ended = read_position(KEYS[2])
local jump, is_new = 1, not epoch
if is_new then
  epoch, last, time, received, clamp, forks, ended = ARGV[3], '0', '0', '0', '-', '-', '-'
elseif tonumber(generation) < lossy_number then
  forks = add_fork(forks, epoch, last, KEYS[3])
  epoch = ARGV[3]
elseif generation ~= current then
  -- A server that was replaced may have given ids after `last`. The jump leads past all of them, and depends on the
  -- server, so that two servers that took over in turn do not give the same id.
  jump = 4294967296 + tonumber(string.sub(replid, 1, 7), 16)
end
if ended ~= '-' then
  local position = table.concat({ epoch, last, time, received, current, clamp, forks, ended }, ' ')
  redis.call('SET', KEYS[2], position, 'EX', 'POSITION_SECONDS')
  return 'ENDED ' .. epoch .. ' ' .. last
end
local received_before = tonumber(received)
if now < received_before then clamp = last .. ':' .. string.format('%.0f', now) end
if now > tonumber(time) then time = string.format('%.0f', now) end
local now_text = string.format('%.0f', now)
local message, finish, entry, end_entry = '-', '-', nil, nil
if ARGV[2] ~= '' then
  message = string.format('%.0f', last + jump)
  entry = table.concat({ epoch, message, time, now_text, last, received .. '\n' .. ARGV[2] }, ' ')
  last, received, jump = message, now_text, 1
end
if ARGV[6] == '1' then
  finish = string.format('%.0f', last + jump)
  end_entry = table.concat({ epoch, finish, time, now_text, last, received .. '\ne\n\n' }, ' ')
  ended = last .. ':' .. received .. ':' .. time
  last, received = finish, now_text
end
-- The first write: a full server refuses it, and nothing has happened.
local position = table.concat({ epoch, last, time, received, current, clamp, forks, ended }, ' ')
redis.call('SET', KEYS[2], position, 'EX', 'POSITION_SECONDS')
if is_new then redis.call('DEL', KEYS[3]) end
local messages = tonumber(ARGV[4])
if entry and messages > 0 then
  local length = redis.call('RPUSH', KEYS[3], entry)
  if length > messages then redis.call('LTRIM', KEYS[3], -messages, -1) end
  -- The log lives for another while after each message. It is told so once in each step of that while, for a step more.
  local step = math.ceil(ARGV[5] / 16)
  if length == 1 or math.floor(now / step) ~= math.floor(received_before / step) then
    redis.call('PEXPIRE', KEYS[3], ARGV[5] + step)
  end
end
if entry then redis.call('PUBLISH', ARGV[1], entry) end
if end_entry then redis.call('PUBLISH', ARGV[1], end_entry) end
local answer = table.concat({ epoch, message, finish }, ' ')
if ARGV[7] == 'once' then
  redis.call('SET', KEYS[4], 'o ' .. ARGV[8] .. ' ' .. answer, 'EX', 'KEY_SECONDS')
elseif ARGV[7] == 'step' then
  if message ~= '-' then stream_last = epoch .. ':' .. message end
  if first == '-' then first = ARGV[10] end
  if first == '-' then first = stream_last end
  if finish ~= '-' then finish = epoch .. ':' .. finish end
  local text = table.concat({ 's', ARGV[8], ARGV[9], first, stream_last, finish, ARGV[11] }, ' ')
  redis.call('SET', KEYS[4], text, 'EX', 'KEY_SECONDS')
end
return answer
