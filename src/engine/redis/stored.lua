-- What is kept in Redis beside messages, read and written here only. Both are hashes: version 0.1 kept strings, which are read,
-- and its scripts refuse a hash. A field that lacks is `-`.

local now, fence -- Set by the part that begins the script: fence.lua or near.lua.
local call = redis.call -- Each look into a library takes 0.02 us.

-- The fence: which server this is, by its replid; its generation; the last generation that began with a possible loss, and
-- when; whether a replica was ever connected; the process; the servers before this one, newest first, as `<replid>:<offset>`:
-- how far this one has what they were given, or `-` where no offset says so; and the last generation that began at a replica
-- which was promoted; and which topics are keyed and which go into feeds, as a digest (agree.lua).
local function read_fence(key)
  local fields = redis.pcall('HMGET', key, 'replid', 'generation', 'lossy', 'lossy_time', 'followed', 'promoted',
    'kinds')
  if fields.err then
    local replid, generation, lossy, lossy_time, replicas, run =
      string.match(call('GET', key), '^(%x+) (%d+) (%d+) (%d+) (%d+) (%x+)$')
    return replid and {
      replid = replid, generation = generation, lossy = lossy, lossy_time = lossy_time,
      followed = replicas == '0' and '0' or '1', promoted = '0', run = run, links = '-', is_string = true,
    }
  end
  return fields[1] and {
    replid = fields[1], generation = fields[2], lossy = fields[3], lossy_time = fields[4], followed = fields[5],
    promoted = fields[6] or '0', kinds = fields[7],
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
    'lossy_time', fence.lossy_time, 'followed', fence.followed, 'run', fence.run, 'links', fence.links,
    'promoted', fence.promoted)
end

-- A position: the offset and the time of the last entry; when it was received; the generation that appended it; where the clock
-- was set back, as `<offset>:<time>` (log.lua); the pasts before this epoch, newest first, as `<epoch>:<last>` (forks.lua); for
-- a topic that has ended, whose last entry is the end, `<offset of the last message>:<when it was received>:<time of the end>`;
-- the offsets that takeovers skipped in this epoch, newest first, as `<after>:<before>`; and only for a keyed topic, of its
-- removals `<floor>:<when that was received>:<when the oldest is to be forgotten, or ->`, where the floor is the offset of the
-- newest that is forgotten.
-- What only a change needs is left out of one that is brief, until `change_position`.
local function read_position(key, is_brief)
  local fields
  if is_brief then
    fields = redis.pcall('HMGET', key, 'epoch', 'last', 'time', 'received', 'generation', 'ended', 'removals')
  else
    fields = redis.pcall('HMGET', key, 'epoch', 'last', 'time', 'received', 'generation', 'ended', 'removals',
      'clamp', 'forks', 'holes')
  end
  local is_string = fields.err ~= nil
  if is_string then
    fields = { string.match(call('GET', key), '^(%S+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)$') }
    fields[6], fields[7], fields[8], fields[9], fields[10] = fields[8], false, fields[6], fields[7], '-'
  end
  if not fields[1] then return end
  local position = {
    epoch = fields[1], last = fields[2], time = fields[3], received = fields[4], generation = fields[5], ended = fields[6],
    removals = fields[7],
  }
  -- Only what was read: the table of a brief position has half the size.
  if is_string or not is_brief then
    position.clamp, position.forks, position.holes, position.is_string = fields[8], fields[9], fields[10], is_string
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

local function new_position(epoch, is_keyed)
  return {
    epoch = epoch, last = '0', time = '0', received = '0', clamp = '-', forks = '-', ended = '-', holes = '-',
    removals = is_keyed and '0:0:-', is_new = true,
  }
end

-- The offset of the last message, which the end of a topic follows, and when it was received.
local function last_message(position)
  local message, message_received = string.match(position.ended, '^(%d+):(%d+):')
  return tonumber(message or position.last), tonumber(message_received or position.received)
end

-- The other keys of a keyed topic, by the key of its position: the entry of each key, a value or a removal; their offsets; and
-- the offsets of the removals alone.
local function keyed_keys(key)
  local name = string.sub(key, 1, -2)
  return name .. 'h', name .. 'z', name .. 'x'
end

local function keep_position(key, position)
  local milliseconds = POSITION_MILLISECONDS + 1000
  if not position.removals then
    redis.pcall('PEXPIRE', key, milliseconds)
    return
  end
  local _, offsets, removed = keyed_keys(key)
  local lives_on = position.ended == '-' and call('ZCARD', offsets) > call('ZCARD', removed) -- It has values.
  for _, own in ipairs({ key, keyed_keys(key) }) do
    if lives_on then redis.pcall('PERSIST', own) else redis.pcall('PEXPIRE', own, milliseconds) end
  end
end

-- The position lives for another while after each entry. It is told so once a second, for a second more.
local function write_position(key, position, received_before)
  if position.is_string then call('DEL', key) end
  if position.is_new or position.is_string or position.is_changed then
    call('HSET', key, 'epoch', position.epoch, 'last', position.last, 'time', position.time,
      'received', position.received, 'generation', position.generation, 'clamp', position.clamp, 'forks', position.forks,
      'ended', position.ended, 'holes', position.holes)
    if position.removals then call('HSET', key, 'removals', position.removals) end
  else
    call('HSET', key, 'last', position.last, 'time', position.time, 'received', position.received)
  end
  if position.is_new then
    -- After the first write, which a full server refuses.
    call('DEL', string.sub(key, 1, -2) .. 'l', keyed_keys(key))
    if position.was_keyed then call('HDEL', key, 'removals') end
  end
  if position.is_new or position.is_string or not received_before
    or now - received_before > now % 1000 then
    keep_position(key, position)
  end
end

-- Whether the past that a position has is the one that its topic goes on with. A keyed topic begins anew at each promotion: a
-- reader in the middle of a snapshot may have passed a key that had moved to an offset which the promoted server lacks.
-- is_keyed: what the settings make the topic; left out where it does not matter
local function is_current(position, is_keyed)
  if not position then return false end
  if is_keyed ~= nil and is_keyed ~= (position.removals and true or false) then return false end
  local generation = tonumber(position.generation)
  return generation >= tonumber(fence.lossy) and (not position.removals or generation >= tonumber(fence.promoted))
end
