-- Reads the value of a key.
-- KEYS 1 fence, 2 position. ARGV 1 key; 2 milliseconds that a removal is kept
-- Returns false for a topic that does not exist, or { epoch, last offset, end or -, floor, entry or false }.
local position = read_position(KEYS[2])
if not is_current(position, true) then return false end
local entries, _, removed = keyed_keys(KEYS[2])
local value = not call('ZSCORE', removed, ARGV[1]) and call('HGET', entries, ARGV[1])
local floor = open_keyed(KEYS[2], position, tonumber(ARGV[2])).floor
return { position.epoch, position.last, position.ended, string.format('%.0f', floor), value }
