-- A node shows that it lives, once a second; declares those dead that it has watched for a lease; and does a slice of what is to be
-- done for all: takes from dead nodes what they had, and lets those leave whose grace is over.
-- KEYS 1 fence. ARGV up to 7: members.lua; 8 `register` for a name that is new, `stop` for a node that stops, or `watch`; 9 since
-- when the node has watched without a break, or nothing at its first look; then of each node that has stood still its name and its
-- state.
-- Returns why nothing is done (members.lua), or { 1 if there is more to do at once, the time, then of each living node its name and its state }.
local slice = 100
call('PERSIST', nodes) -- A script that has written may go on though the server is full, and this needs no room.
if ARGV[8] == 'register' then
  write_call(call)
  return { 0, now_text }
end
local unfit = unfitness()
if unfit then return unfit end
if ARGV[8] == 'stop' then
  declare_dead(node)
  return { 0, now_text }
end
write_call(call)
for at = 10, #ARGV, 2 do
  if call('HGET', nodes, ARGV[at]) == ARGV[at + 1] then declare_dead(ARGV[at]) end
end

local has_more = 0
local gone = call('SRANDMEMBER', dead)
if gone then
  local pairs_of_gone = call('SRANDMEMBER', register .. 'node:' .. gone, slice)
  for _, pair in ipairs(pairs_of_gone) do take_out(gone, pair) end
  if #pairs_of_gone < slice then call('SREM', dead, gone) end
  has_more = 1
end

-- The clock was set back: nobody waits for longer than the grace.
local latest = string.format('%.0f', now + GRACE)
local later = call('ZRANGE', due, '(' .. latest, '+inf', 'BYSCORE', 'LIMIT', 0, slice)
for _, pair in ipairs(later) do call('ZADD', due, latest, pair) end
if #later == slice then has_more = 1 end

-- Where no node ran or reached this server for a while, whoever comes back to the first one that does has the grace for it, and so
-- has what a node could not say meanwhile. A clock that was set back says nothing.
local age = ARGV[9] == '' and 0 or now - tonumber(ARGV[9])
if age >= GRACE or age < 0 then
  local leaving, order = {}, {}
  local pairs_due = call('ZRANGE', due, '-inf', now_text, 'BYSCORE', 'LIMIT', 0, slice)
  for _, pair in ipairs(pairs_due) do
    local topic, key = parts_of(pair)
    if not leaving[topic] then
      leaving[topic] = {}
      order[#order + 1] = topic
    end
    local entries = leaving[topic]
    if call('HEXISTS', name_of(topic) .. ':m', key) == 1 then
      entries[#entries + 1], entries[#entries + 2] = key, removal_of(key)
    end
  end
  for _, topic in ipairs(order) do
    local entries, name = leaving[topic], name_of(topic)
    -- Refused where the topic lacks one of them, since Redis evicted a part of it. The members of others leave all the same.
    if append_members(name, entries) then
      for at = 1, #entries, 2 do append_members(name, { entries[at], entries[at + 1] }) end
    end
    for at = 1, #entries, 2 do call('HDEL', name .. ':m', entries[at]) end
  end
  for _, pair in ipairs(pairs_due) do call('ZREM', due, pair) end
  if #pairs_due == slice then has_more = 1 end
end
return { has_more, now_text, unpack(call('HGETALL', nodes)) }
