-- KEYS 1 fence, then position and log of each topic. ARGV 1 milliseconds of each that its messages are kept …
-- Returns for each { epoch, last offset, end or -, number of messages }, or false for a topic that does not exist.
local reply = {}
for index = 2, #KEYS, 2 do
  local epoch, last, _, received, generation, clamp, _, ended = read_position(KEYS[index])
  if epoch and tonumber(generation) >= lossy_number then
    local message, message_received = last_message(last, received, ended)
    local kept = tonumber(ARGV[index / 2])
    local log = open_log(KEYS[index + 1], message, message_received, clamp, kept)
    reply[#reply + 1] = { epoch, last, ended, log.length - log.first }
  else
    reply[#reply + 1] = false
  end
end
return reply
