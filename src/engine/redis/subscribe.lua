-- Brings a topic into being.
-- KEYS 1 fence, 2 position, 3 log. ARGV 1 epoch if one begins. Returns { epoch, last offset, end or - } (stored.lua).
local position = read_position(KEYS[2])
if position then
  -- A server that cannot write can be read. One that is only full goes on to write after this.
  keep_position(KEYS[2])
  if is_current(position) then return { position.epoch, position.last, position.ended } end
  begin_epoch(position, ARGV[1], KEYS[3])
  position.is_changed = true
else
  position = new_position(ARGV[1])
end
position.generation = fence.generation
write_position(KEYS[2], position)
if position.is_new then redis.call('DEL', KEYS[3]) end
return { position.epoch, position.last, position.ended }
