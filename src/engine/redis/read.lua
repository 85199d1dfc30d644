-- Reads a page of history.
-- KEYS 1 fence, 2 position, 3 log
-- ARGV 1 position, all, last, time or unknown; 2 epoch; 3 offset, number or time; 4 messages and 5 bytes at most;
--      6 milliseconds kept
-- Returns false for a topic that does not exist, or { complete, epoch, offset that the first message follows, last offset,
-- end or -, 1 if messages before the first one are or may be gone, entry, entry, … }. An entry's own epoch may be an older
-- one: the topic's holds for all.
local position = read_position(KEYS[2])
if not is_current(position, false) then return false end
local last_end, last = tonumber(position.last), last_message(position)
local kind, number = ARGV[1], tonumber(ARGV[3])
local log = open_log(KEYS[3], position, tonumber(ARGV[6]))
local complete, start, after = 1, log.first, log.beginning

-- The offset that the first message of the answer follows.
local function before_start()
  return start < log.length and log.entry(start).previous or last
end

-- Where a reader continues that has everything up to an offset. An offset that was skipped belongs to what a server that
-- was replaced had more: then the reader shares what comes before it.
local function continue_after(offset)
  start = math.max(log.after(offset), log.first)
  after = before_start()
  if start >= log.length and offset == last_end then after = last_end end
  return after == offset
end

if kind == 'position' then
  complete = 0
  if ARGV[2] == position.epoch then
    if number >= log.beginning and number <= last_end then
      if continue_after(number) then complete = 1 end
    elseif number > last_end then
      -- Given by a server before this one, which was ahead: the client has everything that was there when this one took over.
      local shared = position.generation ~= fence.generation and last_end or tonumber(string.match(position.holes, '^%d+'))
      if shared and shared >= log.beginning then continue_after(shared) end
    end
  else
    for fork_epoch, fork_last in string.gmatch(position.forks, '([^,:]+):(%d+)') do
      local shared = math.min(number, tonumber(fork_last))
      if fork_epoch == ARGV[2] and shared >= log.beginning then continue_after(shared) end
    end
  end
elseif kind == 'time' then
  if log.dropped >= number or tonumber(fence.lossy_time) > number then complete = 0 end
  start = log.search(function(entry) return entry.received >= math.max(number, log.oldest) end)
  after = before_start()
elseif kind == 'last' then
  start = math.max(log.first, log.length - number)
  after = before_start()
elseif kind == 'unknown' then
  complete = 0
end

-- After a takeover with a possible loss one of any of them may be missing.
local is_trimmed = (after > 0 or position.forks ~= '-') and 1 or 0
local reply = { complete, position.epoch, string.format('%.0f', after), position.last, position.ended, is_trimmed }
local messages_max, bytes_max = tonumber(ARGV[4]), tonumber(ARGV[5])
local messages, bytes, piece = 0, 0, 4
while start < log.length and messages < messages_max and bytes < bytes_max do
  local stop = start + math.min(piece, messages_max - messages) - 1
  for _, entry in ipairs(call('LRANGE', KEYS[3], start, stop)) do
    if bytes >= bytes_max then break end
    reply[#reply + 1] = entry
    messages, bytes, start = messages + 1, bytes + #entry + 100, start + 1
  end
  piece = 32
end
return reply
