-- KEYS 1 fence, then position and log of each topic. ARGV 1 for each topic a digit, 1 for a keyed one; 2 milliseconds of each
--      that its messages are kept …
-- Returns for each { epoch, last offset, end or -, number of messages }, or false for a topic that does not exist.
local reply = {}
for index = 2, #KEYS, 2 do
  local position = read_position(KEYS[index])
  local topic = index / 2
  if is_current(position, string.sub(ARGV[1], topic, topic) == '1') then
    local retained
    if position.removals then
      local _, offsets, removed = keyed_keys(KEYS[index])
      retained = call('ZCARD', offsets) - call('ZCARD', removed)
    else
      local log = open_log(KEYS[index + 1], position, tonumber(ARGV[topic + 1]))
      retained = log.length - log.first
    end
    reply[#reply + 1] = { position.epoch, position.last, position.ended, retained }
  else
    reply[#reply + 1] = false
  end
end
return reply
