-- What append.lua appends to the feeds of a topic. Its arguments are of each message, and of the end of the topic, what a feed
-- gets of it, without the id that it has in its topic, which only this script knows, and of a message without its data, which a
-- publication carries once; then of each feed the shape of what is appended to it, of the kind feed.
-- Returns the arguments of a publication to a feed, but for its shape, which comes first. What was appended to the topic has
-- successive offsets.
local function fed_values(shape, at, epoch, message, finish)
  local find, sub = string.find, string.sub

  -- given: the part of a feed's entry as it came, which has attributes (entry.ts)
  -- content: the publisher's part of the entry of the topic; nothing for its end
  local function fed_content(given, content, offset)
    local attributes_end = find(given, '\n', find(given, '\n', 1, true) + 1, true)
    local from, data_begin = given, attributes_end + 1
    if content and attributes_end == #given then
      from, data_begin = content, find(content, '\n', 1, true) + 1
      if string.byte(content) < 97 then data_begin = find(content, '\n', data_begin, true) + 1 end -- A capital: it has attributes.
    end
    return sub(given, 1, attributes_end - 2) .. ',"originid":"' .. epoch .. '-' .. offset .. '"}\n' .. sub(from, data_begin)
  end

  local values, count, given = { '' }, shape.count, at + shape.before_fed
  for nth = 1, count do
    local content = ARGV[at + shape.before_contents + nth * shape.width]
    values[nth + 1] = fed_content(ARGV[given + nth], content, string.format('%.0f', message - count + nth))
  end
  if finish ~= '-' then values[count + 2] = fed_content(ARGV[given + count + 1], nil, finish) end
  return values
end
