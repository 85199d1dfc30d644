-- What is kept in Redis beside messages, read and written here only. Both are hashes: version 0.1 kept strings, which are read,
-- and its scripts refuse a hash. A field that lacks is `-`.

local now, fence -- Set by the part that begins the script: fence.lua or near.lua.

-- The fence: which server this is, by its replid; its generation; the last generation that began with a possible loss, and
-- when; whether a replica was ever connected; the process; and the servers before this one, newest first, as `<replid>:<offset>`:
-- how far this one has what they were given, or `-` where no offset says so.
local fence_fields = { 'replid', 'generation', 'lossy', 'lossy_time', 'followed', 'run', 'links' }

local function read_fence(key)
  local fields = redis.pcall('HMGET', key, unpack(fence_fields))
  local fence = {}
  if fields.err then
    local replicas
    fence.replid, fence.generation, fence.lossy, fence.lossy_time, replicas, fence.run =
      string.match(redis.call('GET', key), '^(%x+) (%d+) (%d+) (%d+) (%d+) (%x+)$')
    fence.followed, fence.links, fence.is_string = tonumber(replicas or '0') > 0 and '1' or '0', '-', true
  else
    for index, name in ipairs(fence_fields) do fence[name] = fields[index] end
  end
  return fence.replid and fence or nil
end

local function write_fence(key, fence)
  -- A script that has written may go on to write though the server is full, and this needs no room: so a full server is
  -- taken over, and can be read.
  redis.call('PERSIST', key)
  if fence.is_string then redis.call('DEL', key) end
  local fields = {}
  for _, name in ipairs(fence_fields) do
    fields[#fields + 1] = name
    fields[#fields + 1] = fence[name]
  end
  redis.call('HSET', key, unpack(fields))
end

-- A position: the offset and the time of the last entry; when it was received; the generation that appended it; where the clock
-- was set back, as `<offset>:<time>` (log.lua); the pasts before this epoch, newest first, as `<epoch>:<last>` (forks.lua); for
-- a topic that has ended, whose last entry is the end, `<offset of the last message>:<when it was received>:<time of the end>`;
-- and the offsets that takeovers skipped in this epoch, newest first, as `<after>:<before>`.
local position_fields = { 'epoch', 'last', 'time', 'received', 'generation', 'clamp', 'forks', 'ended', 'holes' }

local function read_position(key)
  local fields = redis.pcall('HMGET', key, unpack(position_fields))
  local position = {}
  if fields.err then
    position.epoch, position.last, position.time, position.received, position.generation, position.clamp, position.forks,
      position.ended = string.match(redis.call('GET', key), '^(%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)$')
    position.holes, position.is_string = '-', true
  else
    position.epoch, position.last, position.time, position.received, position.generation, position.clamp, position.forks,
      position.ended, position.holes = unpack(fields)
  end
  return position.epoch and position or nil
end

local function new_position(epoch)
  return {
    epoch = epoch, last = '0', time = '0', received = '0', clamp = '-', forks = '-', ended = '-', holes = '-', is_new = true,
  }
end

local function keep_position(key)
  redis.pcall('PEXPIRE', key, POSITION_MILLISECONDS + 1000)
end

-- The position lives for another while after each entry. It is told so once a second, for a second more.
local function write_position(key, position, received_before)
  if position.is_string then redis.call('DEL', key) end
  if position.is_new or position.is_string or position.is_changed then
    redis.call('HSET', key, 'epoch', position.epoch, 'last', position.last, 'time', position.time,
      'received', position.received, 'generation', position.generation, 'clamp', position.clamp, 'forks', position.forks,
      'ended', position.ended, 'holes', position.holes)
  else
    redis.call('HSET', key, 'last', position.last, 'time', position.time, 'received', position.received)
  end
  if position.is_new or position.is_string or not received_before
    or math.floor(now / 1000) ~= math.floor(received_before / 1000) then
    keep_position(key)
  end
end

-- Whether the past that a position has is the one that its topic goes on with.
local function is_current(position)
  return position and tonumber(position.generation) >= tonumber(fence.lossy)
end
