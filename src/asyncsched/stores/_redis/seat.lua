-- Notes how much had happened when a server became the primary, before anything more happens there. KEYS[1] is what
-- every key begins with; ARGV: what tells the server, as primary, from those before it. Gives that count.
local seats = KEYS[1] .. 'seats'
local count = redis.pcall('GET', KEYS[1] .. 'count')
if type(count) == 'table' then count = '?' end
local last = redis.pcall('LINDEX', seats, -1)
if type(last) == 'table' then -- it is no list: somebody else has written it
  redis.call('DEL', seats)
  last = false
end
if not last or string.match(last, '^%S+') ~= ARGV[1] then
  redis.call('RPUSH', seats, ARGV[1] .. ' ' .. (count or '0'))
  redis.call('LTRIM', seats, -64, -1)
end
return tonumber(count or '0') or 0
