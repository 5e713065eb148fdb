-- Lets plain runs be ready whose instants have come; lets the foremost begin about which nothing is to be decided; then
-- tells which runs are foremost, and what else is to be done.
-- ARGV: so many; queues, full groups, and tasks of others, as JSON lists (or false); how many nodes lost are too many; the
-- node; how the reason of a run begins that cannot be read; so many may begin; the name of the node; what it is known to
-- serve, the room in queues and in groups, as JSON; so many nodes lost make a run suspect.
local limit, queues, full, others = tonumber(ARGV[1]), cjson.decode(ARGV[2]), {}, {}
for _, group in ipairs(cjson.decode(ARGV[3])) do full[group] = true end
for _, task in ipairs(cjson.decode(ARGV[4])) do others[task] = true end
local too_lost, node, parked_as = tonumber(ARGV[5]), ARGV[6], ARGV[7]
local at_once = 200

-- Runs that nobody can work with are put aside; of one that is none nothing is kept here.
local marred = {}
local function wrong(run)
  if run[5] ~= READY then return 'state' end
  if run[6] ~= 'PENDING' then return 'status' end
  local token, attempt = run[7], run[8]
  if not token or not string.find(token, '^%d+$') or #token > 15 then return 'token' end
  if not attempt or not string.find(attempt, '^%d+$') or #attempt > 15 then return 'attempt' end
end
local function put_aside(id, task, why)
  local key = ns .. 'r:' .. id
  raise(key, 'v')
  raise(key, 'token')
  place(id, key, { 'parked' })
  call('HSET', key, 'status', 'PENDING', 'reason', parked_as .. ': its ' .. why .. ' cannot be that')
  if why == 'token' or why == 'attempt' then call('HSET', key, why, why == 'token' and '2147483648' or '0') end
  marred[#marred + 1] = { id, task, why }
end

for _, id in ipairs(call('ZRANGEBYSCORE', ns .. 'delayed', '-inf', now_text, 'LIMIT', 0, at_once)) do
  local key = ns .. 'r:' .. id
  local run = call('HMGET', key, 'queue', 'rs', 'task')
  call('ZREM', ns .. 'delayed', id)
  if run[1] and run[2] and run[3] then
    raise(key, 'v')
    place(id, key, { 'ready', run[1], run[2] })
  elseif run[3] then
    put_aside(id, run[3], 'queue')
  end
end

local found = {}
local function look(queue)
  local zset, start, taken = ns .. 'y:' .. queue, 0, 0
  while taken < limit do
    local members = call('ZRANGE', zset, start, start + limit - 1)
    for _, member in ipairs(members) do
      local id = string.match(member, ':(.*)') or ''
      local run = call('HMGET', ns .. 'r:' .. id, 'task', 'grouped', 'lost', 'rated', 'state', 'status', 'token', 'attempt',
        'v', 'zk', 'zm', 'owner', 'first_at', 'created_at', 'due_at', 'scheduled_at', 'stands_for', 'terms', 'args',
        'reason', 'finished_at', 'result', 'error', 'notes', 'retry_of', 'flow', 'edges')
      local lost = tonumber(run[3] or '0') or 0
      local why = run[1] and wrong(run)
      if not run[1] then
        call('ZREM', zset, member)
        marred[#marred + 1] = { id, '', 'hash' }
      elseif run[11] ~= member then -- it stands elsewhere, or nowhere, which is found
        call('ZREM', zset, member)
      elseif why then
        call('ZREM', zset, member)
        put_aside(id, run[1], why)
      elseif not others[run[1]] and not (run[2] and full[run[2]]) and lost < too_lost then
        found[#found + 1] = { member, id, queue, run[2] or '', run[1], lost, run[4] or '0', run }
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
  local these = queues or call('SMEMBERS', ns .. 'queues')
  for _, queue in ipairs(these) do look(queue) end
  if #these > 1 then table.sort(found, function(one, other) return one[1] < other[1] end) end
end
local function first(zset)
  return call('ZRANGE', ns .. zset, 0, 0, 'WITHSCORES')[2] or ''
end
local function due(zset, least, most)
  return call('ZRANGEBYSCORE', ns .. zset, least, most, 'LIMIT', 0, at_once)
end
local chores = {
  due('lapses', '-inf', now_text),
  due('kdelayed', '-inf', now_text),
  due('kwake', '-inf', now_text),
  due('klast', '(' .. now_text, '+inf'),
  due('kfade', '-inf', now_text),
}
local alive = tonumber(call('ZSCORE', ns .. 'nodes', node) or '0') > wall()

-- Which of the foremost begin: up to the first about which the node is to decide.
local most, name, suspect = tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[13])
local left, room, served = cjson.decode(ARGV[11]), cjson.decode(ARGV[12]), {}
for _, task in ipairs(cjson.decode(ARGV[10])) do served[task] = true end
local function begins(one)
  local queue, group, run = one[3], one[4], one[8]
  if not served[one[5]] or one[6] >= suspect or one[7] ~= '0' then return false end
  if run[10] ~= 'y:' .. queue or run[11] ~= one[1] or run[12] then return false end
  if left and (left[queue] or 0) <= 0 or room and room[group] and room[group] <= 0 then return false end
  if left then left[queue] = left[queue] - 1 end
  if room and room[group] then room[group] = room[group] - 1 end
  return true
end
local beginning, members, ids = {}, {}, {}
for _, chore in ipairs(chores) do
  if #chore > 0 then most = 0 end
end
while alive and #beginning < math.min(most, #found) and begins(found[#beginning + 1]) do
  local one = found[#beginning + 1]
  beginning[#beginning + 1] = one
  ids[#ids + 1] = one[2]
  into(members, one[3], one[1])
end
local started = {}
if #ids > 0 then
  call('SADD', ns .. 'o:' .. node, unpack(ids)) -- what a node is known to have is looked after, whatever fails behind
  call('SADD', ns .. 'owners', node)
  for queue, some in pairs(members) do call('ZREM', ns .. 'y:' .. queue, unpack(some)) end
  call('ZREM', ns .. 'lapses', unpack(ids))
  for place, one in ipairs(beginning) do
    local key, run = ns .. 'r:' .. one[2], one[8]
    run[13] = run[13] or now_text
    call('HDEL', key, 'zk', 'zm', 'lapses_at')
    call('HSET', key, 'owner', node, 'node', name, 'state', RUNNING, 'status', 'RUNNING', 'v', next_of(run[9]),
      'token', run[7] + 1, 'attempt', run[8] + 1, 'started_at', now_text, 'first_at', run[13])
    started[place] = { one[2], one[3], one[4], one[5], run[7], run[8], name, now_text, unpack(run, 13) }
  end
end
local ready = {}
for place = #ids + 1, math.min(limit, #found) do
  found[place][8] = nil
  ready[#ready + 1] = found[place]
end
return {
  now_text,
  alive and 1 or 0,
  #ready > 0 and cjson.encode(ready) or '[]',
  { first('delayed'), first('kdelayed'), first('kwake') },
  first('lapses'),
  chores,
  cjson.encode(marred),
  started,
  #ids > 0 and count_up('count') or false,
}
