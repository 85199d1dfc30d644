-- Reads a page of a keyed topic: the entry of each key, in the order of offsets.
-- KEYS 1 fence, 2 position
-- ARGV 1 position, all, last, time or unknown; 2 epoch; 3 offset, number or time; 4 messages and 5 bytes at most;
--      6 milliseconds that a removal is kept; 7 the offset that the reader's snapshot began at, or -
-- Returns false for a topic that does not exist, or { complete, epoch, offset that the page follows, last offset, end or -,
-- where the page's snapshot began or -, the offset of a reader that has the page, where its snapshot began or -, entry, … }.
local position = read_position(KEYS[2])
if not is_current(position, true) then return false end
local topic = open_keyed(KEYS[2], position, tonumber(ARGV[6]))
local last_end, last = tonumber(position.last), (last_message(position))
local kind, number = ARGV[1], tonumber(ARGV[3])
-- A snapshot begins before the first value, and needs no removal from before its base.
local complete, after, base = 0, 0, last

-- Whether a reader that has everything up to a place lacks only what is kept.
local function continues_from(place)
  if ARGV[2] ~= position.epoch or place > last_end or place < topic.floor then return false end
  for from, to in string.gmatch(position.holes, '(%d+):(%d+)') do
    if place > tonumber(from) and place < tonumber(to) then return false end
  end
  return true
end

if kind == 'all' then
  complete = 1
elseif kind == 'position' then
  local own_base = tonumber(ARGV[7])
  if continues_from(math.max(number, own_base or 0)) then complete, after, base = 1, number, own_base end
elseif kind == 'last' then
  complete = 1
  if number < topic.length - topic.removals then
    local rank = topic.search(topic.length, function(rank) return topic.values_from(rank) < number end) - 1
    after = topic.offset(rank) - 1
  end
elseif kind == 'time' and topic.forgotten < number and tonumber(fence.lossy_time) <= number then
  local rank = topic.search(topic.length, function(rank) return topic.entry(rank).received >= number end)
  complete, after, base = 1, rank < topic.length and topic.entry(rank).offset - 1 or last, nil
end

local function text_of(offset)
  return offset and string.format('%.0f', offset) or '-'
end

local reply = { complete, position.epoch, text_of(after), position.last, position.ended, text_of(base), '', '' }
local messages_max, bytes_max = tonumber(ARGV[4]), tonumber(ARGV[5])
-- Removals that a snapshot leaves out are looked at, too: Redis serves nobody else meanwhile.
local messages, bytes, piece, looked, through, is_last = 0, 0, 4, 0, after, after >= last
while not is_last and messages < messages_max and bytes < bytes_max and looked < 8 * messages_max do
  local texts = topic.after(through, math.min(piece, messages_max - messages))
  is_last = #texts == 0
  for _, text in ipairs(texts) do
    if bytes >= bytes_max then break end
    through, looked = tonumber(string.match(text, '^%S+ (%d+)')), looked + 1
    if topic.removals == 0 or not base or through > base or not string.find(text, '^[^\n]*\nR') then
      reply[#reply + 1] = text
      messages, bytes = messages + 1, bytes + #text + 100
    end
  end
  is_last = is_last or through >= last
  piece = 32
end
-- The last offsets may be those of entries that were replaced.
if is_last then through, base = math.max(after, last), nil end
reply[7], reply[8] = text_of(through), text_of(base)
return reply
