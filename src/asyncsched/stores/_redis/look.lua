-- Lets plain runs be ready whose instants have come; then tells which runs are foremost, and what else is to be done.
-- ARGV: so many; queues, full groups, and tasks of others, as JSON lists (or false); how many nodes lost are too many; the node.
local limit, queues, full, others = tonumber(ARGV[1]), cjson.decode(ARGV[2]), {}, {}
for _, group in ipairs(cjson.decode(ARGV[3])) do full[group] = true end
for _, task in ipairs(cjson.decode(ARGV[4])) do others[task] = true end
local too_lost, node = tonumber(ARGV[5]), ARGV[6]
local at_once = 200

for _, id in ipairs(call('ZRANGEBYSCORE', ns .. 'delayed', '-inf', text(now), 'LIMIT', 0, at_once)) do
  local run = call('HMGET', ns .. 'r:' .. id, 'queue', 'rs')
  call('HINCRBY', ns .. 'r:' .. id, 'v', 1)
  place(id, ns .. 'r:' .. id, { 'ready', run[1], run[2] })
end

local found = {}
local function look(queue)
  local zset, start, taken = ns .. 'y:' .. queue, 0, 0
  while taken < limit do
    local members = call('ZRANGE', zset, start, start + limit - 1)
    for _, member in ipairs(members) do
      local id = string.sub(member, string.find(member, ':', 1, true) + 1)
      local run = call('HMGET', ns .. 'r:' .. id, 'task', 'grouped', 'lost', 'rated')
      local lost = tonumber(run[3] or '0')
      if not others[run[1]] and not (run[2] and full[run[2]]) and lost < too_lost then
        found[#found + 1] = { member, id, queue, run[2] or '', run[1], lost, run[4] or '0' }
        taken = taken + 1
        if taken == limit then return end
      end
    end
    if #members < limit then
      if start == 0 and #members == 0 then call('SREM', ns .. 'queues', queue) end
      return
    end
    start = start + limit
  end
end

if limit > 0 then
  for _, queue in ipairs(queues or call('SMEMBERS', ns .. 'queues')) do look(queue) end
  table.sort(found, function(one, other) return one[1] < other[1] end)
end
local ready = {}
for place = 1, math.min(limit, #found) do ready[place] = found[place] end

local function first(zset)
  return call('ZRANGE', ns .. zset, 0, 0, 'WITHSCORES')[2] or ''
end
local function due(zset, least, most)
  return call('ZRANGEBYSCORE', ns .. zset, least, most, 'LIMIT', 0, at_once)
end
local expiry = tonumber(call('ZSCORE', ns .. 'nodes', node) or '0')
return {
  text(now),
  expiry > wall() and 1 or 0,
  cjson.encode(ready),
  { first('delayed'), first('kdelayed'), first('kwake') },
  first('lapses'),
  due('lapses', '-inf', text(now)),
  due('kdelayed', '-inf', text(now)),
  due('kwake', '-inf', text(now)),
  due('klast', '(' .. text(now), '+inf'),
  due('kfade', '-inf', text(now)),
}
