-- KEYS 1 fence, then positions. ARGV 1 "1" to keep them for another while.
-- Returns for each { epoch, last offset, end or - }, or false for a topic that does not exist.
local reply = {}
for index = 2, #KEYS do
  local epoch, last, _, _, generation, _, _, ended = read_position(KEYS[index])
  if epoch and tonumber(generation) >= lossy_number then
    reply[index - 1] = { epoch, last, ended }
    if ARGV[1] == '1' then redis.pcall('EXPIRE', KEYS[index], 'POSITION_SECONDS') end
  else
    reply[index - 1] = false
  end
end
return reply
