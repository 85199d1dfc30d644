-- Makes a writer the only one that may continue a stream.
-- KEYS 1 fence, 2 record of the key. ARGV 1 writer
-- Returns CONFLICT, or the record: { items, first position or -, last position or -, position of the end or -, digest }.
local record = redis.call('GET', KEYS[2])
local items, first, last, finish, digest = '0', '-', '-', '-', ''
if record then
  items, first, last, finish, digest = string.match(record, '^s %S+ (%d+) (%S+) (%S+) (%S+) (.*)$')
  if not items then return 'CONFLICT' end
end
redis.call('SET', KEYS[2], table.concat({ 's', ARGV[1], items, first, last, finish, digest }, ' '), 'EX', KEY_SECONDS)
return { items, first, last, finish, digest }
