-- Brings a topic into being.
-- KEYS 1 fence, 2 position, 3 log. ARGV 1 epoch if one begins. Returns { epoch, last offset, end or - } (fence.lua).
local epoch, last, time, received, generation, clamp, forks, ended = read_position(KEYS[2])
if epoch then
  -- A server that cannot write can be read. One that is only full goes on to write after this.
  redis.pcall('EXPIRE', KEYS[2], 'POSITION_SECONDS')
  if tonumber(generation) >= lossy_number then return { epoch, last, ended } end
end
local is_new = not epoch
if epoch then
  forks = add_fork(forks, epoch, last, KEYS[3])
else
  last, time, received, clamp, forks, ended = '0', '0', '0', '-', '-', '-'
end
local position = table.concat({ ARGV[1], last, time, received, current, clamp, forks, ended }, ' ')
redis.call('SET', KEYS[2], position, 'EX', 'POSITION_SECONDS') -- A full server refuses it, and nothing has happened.
if is_new then redis.call('DEL', KEYS[3]) end
return { ARGV[1], last, ended }
