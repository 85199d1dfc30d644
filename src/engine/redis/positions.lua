-- KEYS 1 fence, then positions. ARGV 1 "1" to keep them for another while; 2 for each topic a digit, 1 for a keyed one.
-- Returns for each { epoch, last offset, end or - }, or false for a topic that does not exist.
local reply = {}
for index = 2, #KEYS do
  local position = read_position(KEYS[index])
  if is_current(position, string.sub(ARGV[2], index - 1, index - 1) == '1') then
    reply[index - 1] = { position.epoch, position.last, position.ended }
    if ARGV[1] == '1' then keep_position(KEYS[index], position) end
  else
    reply[index - 1] = false
  end
end
return reply
