-- KEYS 1 fence, 2 nodes, then position and log of each topic. ARGV 1 milliseconds of each that its messages are kept …
-- Returns { nodes that live, { epoch, last offset, end or -, number of messages } or false, … }.
local reply = { redis.call('ZCOUNT', KEYS[2], now - NODE_MILLISECONDS, '+inf') }
for index = 3, #KEYS, 2 do
  local epoch, last, _, received, generation, clamp, _, ended = read_position(KEYS[index])
  if epoch and tonumber(generation) >= lossy_number then
    local message, message_received = last_message(last, received, ended)
    local kept = tonumber(ARGV[(index - 1) / 2])
    local log = open_log(KEYS[index + 1], message, message_received, clamp, kept)
    reply[#reply + 1] = { epoch, last, ended, log.length - log.first }
  else
    reply[#reply + 1] = false
  end
end
return reply
