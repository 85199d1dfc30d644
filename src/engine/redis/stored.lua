-- What is kept in Redis beside messages, read and written here only. Both are hashes: version 0.1 kept strings, which are read,
-- and its scripts refuse a hash. A field that lacks is `-`.

local now, fence -- Set by the part that begins the script: fence.lua or near.lua.
local call = redis.call -- Each look into a library takes 0.02 us.

-- The fence: which server this is, by its replid; its generation; the last generation that began with a possible loss, and
-- when; whether a replica was ever connected; the process; and the servers before this one, newest first, as `<replid>:<offset>`:
-- how far this one has what they were given, or `-` where no offset says so.
local function read_fence(key)
  local fields = redis.pcall('HMGET', key, 'replid', 'generation', 'lossy', 'lossy_time', 'followed')
  if fields.err then
    local replid, generation, lossy, lossy_time, replicas, run =
      string.match(call('GET', key), '^(%x+) (%d+) (%d+) (%d+) (%d+) (%x+)$')
    return replid and {
      replid = replid, generation = generation, lossy = lossy, lossy_time = lossy_time,
      followed = replicas == '0' and '0' or '1', run = run, links = '-', is_string = true,
    }
  end
  return fields[1] and {
    replid = fields[1], generation = fields[2], lossy = fields[3], lossy_time = fields[4], followed = fields[5],
  }
end

-- Adds what only a takeover and a testimony need.
local function read_whole_fence(key, fence)
  if not fence.links then fence.run, fence.links = unpack(call('HMGET', key, 'run', 'links')) end
end

local function write_fence(key, fence)
  -- A script that has written may go on to write though the server is full, and this needs no room: so a full server is
  -- taken over, and can be read.
  call('PERSIST', key)
  if fence.is_string then call('DEL', key) end
  call('HSET', key, 'replid', fence.replid, 'generation', fence.generation, 'lossy', fence.lossy,
    'lossy_time', fence.lossy_time, 'followed', fence.followed, 'run', fence.run, 'links', fence.links)
end

-- A position: the offset and the time of the last entry; when it was received; the generation that appended it; where the clock
-- was set back, as `<offset>:<time>` (log.lua); the pasts before this epoch, newest first, as `<epoch>:<last>` (forks.lua); for
-- a topic that has ended, whose last entry is the end, `<offset of the last message>:<when it was received>:<time of the end>`;
-- and the offsets that takeovers skipped in this epoch, newest first, as `<after>:<before>`.
-- What only a change needs is left out of one that is brief, until `change_position`.
local function read_position(key, is_brief)
  local fields
  if is_brief then
    fields = redis.pcall('HMGET', key, 'epoch', 'last', 'time', 'received', 'generation', 'ended')
  else
    fields = redis.pcall('HMGET', key, 'epoch', 'last', 'time', 'received', 'generation', 'ended', 'clamp', 'forks', 'holes')
  end
  local is_string = fields.err ~= nil
  if is_string then
    fields = { string.match(call('GET', key), '^(%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)$') }
    fields[6], fields[7], fields[8], fields[9] = fields[8], fields[6], fields[7], '-'
  end
  if not fields[1] then return end
  local position = {
    epoch = fields[1], last = fields[2], time = fields[3], received = fields[4], generation = fields[5], ended = fields[6],
  }
  -- Only what was read: the table of a brief position has half the size.
  if is_string or not is_brief then
    position.clamp, position.forks, position.holes, position.is_string = fields[7], fields[8], fields[9], is_string
  end
  return position
end

-- Reads the rest of a position, all of which is going to be written.
local function change_position(key, position)
  if not position.clamp then
    position.clamp, position.forks, position.holes = unpack(call('HMGET', key, 'clamp', 'forks', 'holes'))
  end
  position.is_changed = true
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
  if position.is_string then call('DEL', key) end
  if position.is_new or position.is_string or position.is_changed then
    call('HSET', key, 'epoch', position.epoch, 'last', position.last, 'time', position.time,
      'received', position.received, 'generation', position.generation, 'clamp', position.clamp, 'forks', position.forks,
      'ended', position.ended, 'holes', position.holes)
  else
    call('HSET', key, 'last', position.last, 'time', position.time, 'received', position.received)
  end
  if position.is_new or position.is_string or not received_before
    or now - received_before > now % 1000 then
    keep_position(key)
  end
end

-- Whether the past that a position has is the one that its topic goes on with.
local function is_current(position)
  return position and tonumber(position.generation) >= tonumber(fence.lossy)
end
