-- KEYS 1 fence, then position and log of each topic. ARGV 1 milliseconds of each that its messages are kept …
-- Returns for each { epoch, last offset, end or -, number of messages }, or false for a topic that does not exist.
local reply = {}
for index = 2, #KEYS, 2 do
  local position = read_position(KEYS[index])
  if is_current(position) then
    local log = open_log(KEYS[index + 1], position, tonumber(ARGV[index / 2]))
    reply[#reply + 1] = { position.epoch, position.last, position.ended, log.length - log.first }
  else
    reply[#reply + 1] = false
  end
end
return reply
