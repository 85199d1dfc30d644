-- A node says who of some members has a line on it: what is so, and not what has changed.
-- KEYS 1 fence. ARGV up to 7: members.lua; 8 the topic; then of each member its key, and - where it has no line, or else since when
-- it has one, when the token of its info was issued, and the info.
-- Returns why nothing is done (members.lua), or the keys that are not taken in.
local unfit = unfitness()
if unfit then return unfit end
local topic = ARGV[8]
local name, own = name_of(topic), register .. 'node:' .. node
local count, refused, entries, gone = nil, {}, {}, {}
-- The members of whom something is written: they are here. First those who are no entries: they are in already.
local keys_here, members_here, keys_told, members_told = {}, {}, {}, {}

local function add(key, content)
  entries[#entries + 1], entries[#entries + 2] = key, content
end

local function here(key, held, since, issued, info)
  local member, entries_before = nil, #entries
  if not held then
    count = count or call('HLEN', name .. ':m')
    if count >= MEMBERS_MAX then
      refused[#refused + 1] = key
      return
    end
    count = count + 1
    member = { since = since, issued = issued, list = node .. ',', info = info }
    add(key, value_of('join', key, info, since))
  else
    member = read_member(held)
    local is_known = string.find(member.list, node .. ',', 1, true)
    local is_newer = issued > member.issued or issued == member.issued and info > member.info
    if is_known and not is_newer then return end
    if not is_known then member.list = member.list .. node .. ',' end
    if is_newer then
      if info ~= member.info then add(key, value_of('update', key, info, member.since)) end
      member.issued, member.info = issued, info
    end
  end
  if #entries == entries_before then
    keys_here[#keys_here + 1], members_here[#members_here + 1] = key, member
  else
    keys_told[#keys_told + 1], members_told[#members_told + 1] = key, member
  end
end

local keys, first = {}, {} -- Of each member that is here the index of its arguments.
local at = 9
while at <= #ARGV do
  if ARGV[at + 1] == '-' then
    gone[#gone + 1] = ARGV[at]
    at = at + 2
  else
    keys[#keys + 1], first[#first + 1] = ARGV[at], at
    at = at + 4
  end
end
if #keys > 0 then
  local held = call('HMGET', name .. ':m', unpack(keys))
  for nth, key in ipairs(keys) do
    local own_at = first[nth]
    here(key, held[nth], ARGV[own_at + 1], tonumber(ARGV[own_at + 2]), ARGV[own_at + 3])
  end
end

-- A full server refuses the first write that adds. What only takes out goes on, and so does who comes back within the grace, or
-- would leave though it is here.
local full = write_call(redis.pcall)
full = type(full) == 'table' and full.err
if full then
  call('PERSIST', nodes)
  write_call(call)
  if #entries == 0 then full = nil end
  entries = {}
else
  for nth, key in ipairs(keys_told) do
    keys_here[#keys_here + 1], members_here[#members_here + 1] = key, members_told[nth]
  end
end
local refusal = append_members(name, entries)
if refusal then error(refusal) end -- Nobody else appends there.
if #entries == 0 and #keys_here > 0 then keep_current(name) end
if #keys_here > 0 then
  local fields, pairs_here = {}, {}
  for nth, key in ipairs(keys_here) do
    fields[2 * nth - 1], fields[2 * nth] = key, text_of_member(members_here[nth])
    pairs_here[nth] = topic .. ' ' .. key
  end
  call('HSET', name .. ':m', unpack(fields))
  call('SADD', own, unpack(pairs_here))
  call('ZREM', due, unpack(pairs_here))
end
for _, key in ipairs(gone) do take_out(node, topic .. ' ' .. key) end
return full and redis.error_reply(full) or refused
