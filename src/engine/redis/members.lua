-- Who is here (presence.ts): of each topic the members, and which nodes have lines of them. A node is known by a name that it makes
-- anew whenever what it said before does not count any more.
--   <prefix>:presence:nodes        hash: of each living node `<generation> <number of the last call>`, which changes with each call
--   <prefix>:presence:dead         set: nodes whose members are to be taken from them
--   <prefix>:presence:node:<node>  set: what a node has lines of, as `<topic> <key of the member>`
--   <prefix>:presence:due          sorted set: when those who have no line leave, in milliseconds, by the same text
--   <prefix>:{!presence/<topic>}:m hash: of each member `<since> <issued> <nodes that have lines of it, each with a comma>\n<info>`
-- ARGV 1 and 2 as append.lua has them; 3 this node; 4 the number of its call; 5 that of the last one that it has an answer to; 6 what
-- the names of keys begin with; 7 the shape of what is appended (append.lua) up to the number of messages.
local node, number, answered, prefix, shape_begin = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local register = prefix .. 'presence:'
local nodes, dead, due = register .. 'nodes', register .. 'dead', register .. 'due'

local function name_of(topic)
  return prefix .. '{!presence/' .. topic .. '}'
end

-- What a node has said does not count any more. Its members are taken from it in slices (watch.lua).
local function declare_dead(other)
  call('HDEL', nodes, other)
  call('SADD', dead, other)
end

-- Why nothing is done for this node, or nothing: DEAD where what it has said before does not count any more, LATE where a later call
-- was first. That one came through a connection that has ended.
-- What a server has that was promoted, or may have lost something, says nothing of what its nodes have told it since. Neither does
-- what it has that lacks a call which was answered: the end of its append-only file was lost.
local function unfitness()
  local state = call('HGET', nodes, node)
  if not state then return 'DEAD' end
  local generation, last = string.match(state, '^(%d+) (%d+)$')
  if tonumber(generation) < math.max(tonumber(fence.lossy), tonumber(fence.promoted)) or tonumber(last) < tonumber(answered) then
    call('PERSIST', nodes)
    declare_dead(node)
    return 'DEAD'
  end
  if tonumber(number) <= tonumber(last) then return 'LATE' end
end

-- run: what calls Redis
local function write_call(run)
  return run('HSET', nodes, node, fence.generation .. ' ' .. number)
end

-- A JSON text of a text.
local encode = cjson.encode

local function value_of(type, key, info, since)
  return 'Tapplication/json\n{"type":"longwire.' .. type .. '","partitionkey":' .. encode(key) .. '}\n{"member":' .. info
    .. ',"since":"' .. since .. '"}'
end

local function removal_of(key)
  return 'Rtext/plain\n{"type":"longwire.removed","partitionkey":' .. encode(key) .. '}\n'
end

-- A topic whose members stay gets no entry, and goes on in another epoch after a possible loss all the same.
local function keep_current(name)
  local key = name .. ':p'
  local position = read_position(key)
  if not position or is_current(position, true) then return end
  begin_epoch(position, new_epoch(), name .. ':l', true)
  position.generation, position.is_changed = fence.generation, true
  write_position(key, position)
end

-- Appends entries to a topic that has members. entries: of each its key and the publisher's part
-- Returns why none was taken, or nothing.
local function append_members(name, entries)
  if #entries == 0 then return end
  local values = { shape_begin .. ' ' .. #entries / 2 .. ' none keyed', '-', unpack(entries) }
  KEYS[2] = name
  local answer = append(shape_of(values[1]), 2, values, 0)
  if not string.find(answer, '^%w+ %d+ %-$') then return name .. ' took no members: ' .. answer end
end

-- held: what is kept of a member
local function read_member(held)
  local since, issued, list, info = string.match(held, '^(%S+) (%d+) (%S*)\n(.*)$')
  return { since = since, issued = tonumber(issued), list = list, info = info }
end

local function text_of_member(member)
  return member.since .. ' ' .. string.format('%.0f', member.issued) .. ' ' .. member.list .. '\n' .. member.info
end

-- The list of nodes without one, and whether it was there.
local function without(list, gone)
  local from, to = string.find(list, gone .. ',', 1, true)
  if not from then return list, false end
  return string.sub(list, 1, from - 1) .. string.sub(list, to + 1), true
end

-- pair: a topic and the key of a member, as they are kept
local function parts_of(pair)
  return string.match(pair, '^(%S+) (.*)$')
end

-- A node has no line of a member any more.
local function take_out(gone, pair)
  call('SREM', register .. 'node:' .. gone, pair)
  local topic, key = parts_of(pair)
  local name = name_of(topic)
  local held = call('HGET', name .. ':m', key)
  if not held then return end
  local member, was_there = read_member(held), nil
  member.list, was_there = without(member.list, gone)
  if not was_there then return end
  call('HSET', name .. ':m', key, text_of_member(member))
  if member.list == '' then call('ZADD', due, string.format('%.0f', now + GRACE), pair) end
end
