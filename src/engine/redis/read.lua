-- Reads a page of history.
-- KEYS 1 fence, 2 position, 3 log
-- ARGV 1 position, all, last, time or unknown; 2 epoch; 3 offset, number or time; 4 messages and 5 bytes at most;
--      6 milliseconds kept
-- Returns false for a topic that does not exist, or { complete, epoch, offset that the first message follows, last offset,
-- end or -, entry, entry, … }. An entry's own epoch may be an older one: the topic's holds for all.
local epoch, last_text, _, last_received, generation, clamp, forks, ended = read_position(KEYS[2])
if not epoch or tonumber(generation) < lossy_number then return false end
local last_end = tonumber(last_text)
local last, received = last_message(last_text, last_received, ended)
local kind, number = ARGV[1], tonumber(ARGV[3])
local log = open_log(KEYS[3], last, received, clamp, tonumber(ARGV[6]))
local complete, start, after = 1, log.first, log.beginning

-- Where a reader continues that has everything up to an offset. An offset that was skipped belongs to what a server that
-- was replaced had more: then the reader shares what comes before it.
local function continue_after(offset)
  start = math.max(log.after(offset), log.first)
  after = last
  if offset == last_end then after = last_end end
  if start < log.length then
    local _, _, previous = log.head(start)
    after = previous
  end
  return after == offset
end

if kind == 'position' then
  complete = 0
  if ARGV[2] == epoch then
    if number >= log.beginning and number <= last_end and continue_after(number) then complete = 1 end
  else
    for fork_epoch, fork_last in string.gmatch(forks, '([^,:]+):(%d+)') do
      local shared = math.min(number, tonumber(fork_last))
      if fork_epoch == ARGV[2] and shared >= log.beginning then continue_after(shared) end
    end
  end
elseif kind == 'time' then
  if log.dropped >= number or tonumber(lossy_time) > number then complete = 0 end
  start, after = log.search(function(_, r) return r >= math.max(number, log.oldest) end), last
  if start < log.length then
    local _
    _, _, after = log.head(start)
  end
elseif kind == 'last' then
  start, after = math.max(log.first, log.length - number), last
  if start < log.length then
    local _
    _, _, after = log.head(start)
  end
elseif kind == 'unknown' then
  complete = 0
end

local reply = { complete, epoch, string.format('%.0f', after), last_text, ended }
local messages_max, bytes_max = tonumber(ARGV[4]), tonumber(ARGV[5])
local messages, bytes, piece = 0, 0, 4
while start < log.length and messages < messages_max and bytes < bytes_max do
  local stop = start + math.min(piece, messages_max - messages) - 1
  for _, entry in ipairs(redis.call('LRANGE', KEYS[3], start, stop)) do
    if bytes >= bytes_max then break end
    reply[#reply + 1] = entry
    messages, bytes, start = messages + 1, bytes + #entry + 100, start + 1
  end
  piece = 32
end
return reply
