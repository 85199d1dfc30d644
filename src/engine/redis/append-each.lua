-- Appends publications, each with an answer of its own: one step.
-- KEYS 1 fence; then those of each publication (append.lua)
-- ARGV 1 and 2 as append.lua has them, then the values of each publication
-- Returns lines: `<generation> <replid> <offset of replication>`, and an answer for each. A server that was promoted has what was
-- appended if it has the history of this replid up to that offset.
-- An answer is what `append` returns, or `ERROR <error>`, after which it is unknown what was appended; but a server that refuses
-- the first write for lack of memory has appended nothing.
if connected < ACKNOWLEDGE then
  return redis.error_reply('NOREPLICAS ' .. connected .. ' replicas are connected, ' .. ACKNOWLEDGE .. ' must acknowledge')
end
local answers, key, at, last_at = { '' }, 2, 2, #ARGV
local function append_rest()
  while at < last_at do
    local shape, own_key, own_at = shape_of(ARGV[at + 1]), key, at
    key, at = key + shape.keys, at + shape.arguments
    answers[#answers + 1] = append(shape, own_key, ARGV, own_at)
  end
end
-- A publication that is refused has an answer like the others, and those after it go on.
while at < last_at do
  shape_of(ARGV[at + 1]) -- One that cannot be read fails the call.
  local is_done, refusal = pcall(append_rest)
  if not is_done then
    refusal = type(refusal) == 'table' and refusal.err or tostring(refusal)
    answers[#answers + 1] = 'ERROR ' .. string.gsub(refusal, '\n', ' ')
  end
end
answers[1] = fence.generation .. ' ' .. replid .. ' ' .. format('%.0f', reached)
return table.concat(answers, '\n')
