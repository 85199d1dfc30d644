-- A node says which ids it knows to have been given. If a topic is not that far, this server lost something in silence.
-- KEYS 1 fence, then positions. ARGV epoch and offset of each. Returns the number of topics that lost something.
local lost = 0
for index = 2, #KEYS do
  local epoch, last, _, _, generation = read_position(KEYS[index])
  -- A topic that has already broken with that past needs no witness.
  if epoch == ARGV[index * 2 - 3] and tonumber(generation) >= lossy_number and tonumber(last) < tonumber(ARGV[index * 2 - 2]) then
    lost = lost + 1
  end
end
if lost > 0 then
  current = string.format('%.0f', current + 1)
  local run = string.sub(redis.call('GET', KEYS[1]), -40)
  local time = string.format('%.0f', now)
  redis.call('SET', KEYS[1], table.concat({ replid, current, current, time, replicas, run }, ' '))
end
return lost
