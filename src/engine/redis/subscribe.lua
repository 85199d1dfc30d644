-- Brings a topic into being.
-- KEYS 1 fence, 2 position, 3 log. ARGV 1 epoch if one begins; 2 1 for a keyed topic.
-- Returns { epoch, last offset, end or - } (stored.lua).
local position, is_keyed = read_position(KEYS[2]), ARGV[2] == '1'
if position then
  -- A server that cannot write can be read. One that is only full goes on to write after this.
  keep_position(KEYS[2], position)
  if is_current(position, is_keyed) then return { position.epoch, position.last, position.ended } end
  begin_epoch(position, ARGV[1], KEYS[3], is_keyed)
  position.is_changed = true
else
  position = new_position(ARGV[1], is_keyed)
end
position.generation = fence.generation
write_position(KEYS[2], position)
return { position.epoch, position.last, position.ended }
