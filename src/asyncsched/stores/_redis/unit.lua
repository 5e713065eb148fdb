-- Carries out units: each is a list of checks and a list of changes, which are made if all checks hold.
-- ARGV[1]: the units as JSON. The answer: now, how often this was ever called, and for each unit what its changes gave,
-- 0 if a check does not hold, or a text that says why it could not be carried out.
local asked = cjson.decode(ARGV[1])
local worn = {}
local again = false -- whether a change is made that was begun before
local living = {} -- whether nodes have their leases, as far as that was asked in this call

local function forget(id, task)
  call('DEL', ns .. 'r:' .. id)
  call('ZREM', ns .. 'e:' .. task, id)
  call('ZREM', ns .. 'ended', id)
  call('ZREM', ns .. 'a', id)
  call('ZREM', ns .. 'a:' .. task, id)
end

-- Forgets what nobody needs of what has ended, from this place on, so many at most; how many were looked at, and kept.
local function forget_some(task, start, last, most)
  local ids = call('ZRANGE', ns .. 'e:' .. task, start, math.min(last, start + most - 1))
  local stay = 0
  for _, id in ipairs(ids) do
    if call('EXISTS', ns .. 'f:' .. id) == 0 then forget(id, task) else stay = stay + 1 end
  end
  return #ids, stay
end

-- What is beyond the keeping of the task; what somebody still needs the result of stays. Where that is very much, a
-- part of it is looked at, each time the next one.
local function prune(task)
  local limit = tonumber(call('HGET', ns .. 't:' .. task, 'history_limit') or '100') or 100
  local surplus = call('ZCARD', ns .. 'e:' .. task) - limit
  if surplus <= 0 then return end
  local looked, stay
  for _ = 1, 5 do
    looked, stay = forget_some(task, 0, surplus - 1, 200)
    surplus = surplus - looked + stay
    if surplus <= stay or stay > 0 and stay < 200 then return end
    if stay > 0 then break end
  end
  if stay == 0 then return end
  local start = math.max(tonumber(call('HGET', ns .. 'pruned', task) or '0') or 0, stay)
  looked, stay = forget_some(task, start, surplus - 1, 200)
  if looked < 200 then call('HDEL', ns .. 'pruned', task) else call('HSET', ns .. 'pruned', task, start + stay) end
end

-- Behind this are those of a task's runs that have never begun and wait for their instant, by that: it is greater than any
-- place, and leaves room for instants. Those that are on their way are so found without a look at all that will be.
local BEHIND = 4503599627370496

-- How many runs of a task are on their way, up to so many.
local function met(task, most)
  local found, start, last = 0, 0, text(BEHIND + now)
  while found < most do
    local ids = call('ZRANGEBYSCORE', ns .. 'l:' .. task, '-inf', last, 'LIMIT', start, 100)
    for _, id in ipairs(ids) do
      local run = call('HMGET', ns .. 'r:' .. id, 'state', 'attempt', 'due_at', 'edges', 'terms')
      if not run[1] then call('ZREM', ns .. 'l:' .. task, id) end -- it is none
      local begun = run[2] ~= '0' or (tonumber(run[3] or '0') or 0) <= now
      local follows = run[1] == BLOCKED and not string.find(run[4] or '', '"kind":"gate"', 1, true)
      local late = run[5] and string.find(run[5], '"backfill":', 1, true)
      if run[1] and begun and run[1] ~= PARKED and not follows and not late then
        found = found + 1
        if found == most then return found end
      end
    end
    if #ids < 100 then return found end
    start = start + 100
  end
  return found
end

local function arm(task)
  local at = call('HMGET', ns .. 't:' .. task, 'next_at', 'paused_until_at')
  if at[1] and not at[2] then
    call('ZADD', ns .. 'due', string.match(at[1], '^%-?%d+$') or '0', task) -- whoever looks there sees to it
  else
    call('ZREM', ns .. 'due', task)
  end
end

-- What is no text was read as one with marks in the places of what is none.
local function unlike(found, given)
  return found and given and string.find(given, '\239\191\189', 1, true) and string.find(found, '[\128-\255]')
end

local function same(found, given)
  return (found or false) == (given or false) or unlike(found, given)
end

-- Lets a node no longer have these.
local function let_go(owner, ids)
  call('SREM', ns .. 'o:' .. owner, unpack(ids))
  call('HDEL', ns .. 'st:' .. owner, unpack(ids))
  if call('EXISTS', ns .. 'o:' .. owner) == 0 then call('SREM', ns .. 'owners', owner) end
end

-- Puts those of a task from the live to the ended ones.
local function retire(task, ids, seqs)
  local ended = {}
  for _, id in ipairs(ids) do
    ended[#ended + 1] = seqs[id]
    ended[#ended + 1] = id
  end
  call('ZREM', ns .. 'l:' .. task, unpack(ids))
  if call('EXISTS', ns .. 'l:' .. task) == 0 then call('SREM', ns .. 'busy', task) end
  call('ZADD', ns .. 'e:' .. task, unpack(ended))
end

local checks = {
  run = function(id, version) return same(call('HGET', ns .. 'r:' .. id, 'v'), version) end,
  text = function(key, value) return same(call('GET', ns .. key), value) end,
  field = function(key, field, value) return same(call('HGET', ns .. key, field), value) end,
  fire = function(task, version, was)
    local at = call('HMGET', ns .. 't:' .. task, 'version', 'next_at')
    return at[1] == version and same(at[2], was) and (not was or (tonumber(was) or 0) <= now)
  end,
  met = function(task, number, most) return met(task, tonumber(most)) == tonumber(number) end,
  size = function(key, number) return call('HLEN', ns .. key) == tonumber(number) end,
  alive = function(node)
    if living[node] == nil then living[node] = tonumber(call('ZSCORE', ns .. 'nodes', node) or '0') > wall() end
    return living[node]
  end,
  dead = function(node) return tonumber(call('ZSCORE', ns .. 'nodes', node) or '0') <= wall() end,
}

local coming = {} -- the runs that are written for the first time in this call, which may be done again
local SAID = { 'result', 'reason', 'error', 'notes' }

local changes = {
  call = function(command, key, ...) return call(command, ns .. key, ...) end,
  -- aside: whether it is on its way only after something else has been changed of it, if ever.
  new = function(id, task, created, fields, where, scheduled, aside)
    local key = ns .. 'r:' .. id
    if not again and call('EXISTS', key) == 1 then return end -- who was not told the first time says it again
    local seq = count_up('seq')
    call('HSET', key, 'seq', seq, 'v', 1, unpack(fields))
    call('ZADD', ns .. 'l:' .. task, aside and 'inf' or where[1] == 'delayed' and text(BEHIND + where[2]) or seq, id)
    call('SADD', ns .. 'busy', task)
    call('ZADD', ns .. 'a', created, id)
    call('ZADD', ns .. 'a:' .. task, created, id)
    if scheduled then call('ZADD', ns .. 'fired', seq, id) end
    place(id, key, where)
  end,
  -- New runs that have to do with nobody else, and are alike but for their ids and arguments: what they share is
  -- written once for all of them.
  news = function(task, created, due, queue, rank, scheduled, shared, ids, args)
    local fresh, live, fired, born, waiting = {}, {}, {}, {}, {}
    for number, id in ipairs(ids) do -- who was not told the first time says it again
      if coming[id] or call('EXISTS', ns .. 'r:' .. id) == 0 then fresh[#fresh + 1], coming[id] = number, true end
    end
    if #fresh == 0 then return end
    local waits = tonumber(due) > now
    local behind = waits and text(BEHIND + due)
    local last, zset = count_up('seq', #fresh) - #fresh, waits and 'delayed' or 'y:' .. queue
    local fields = { 'id', '', 'seq', '', 'zm', '', 'args', '', 'v', '1', 'zk', zset, 'state', waits and DELAYED or READY }
    if not args then fields[7], fields[8] = 'v', '1' end
    for _, said in ipairs(shared) do fields[#fields + 1] = said end
    for place, number in ipairs(fresh) do
      local id, seq = ids[number], last + place
      local member = waits and id or rank .. string.format('%012x', seq) .. ':' .. id
      fields[2], fields[4], fields[6] = id, seq, member
      if args then fields[8] = args[number] end
      call('HSET', ns .. 'r:' .. id, unpack(fields))
      live[2 * place - 1], live[2 * place] = behind or seq, id
      if scheduled then fired[2 * place - 1], fired[2 * place] = seq, id end
      born[2 * place - 1], born[2 * place] = created, id
      waiting[2 * place - 1], waiting[2 * place] = waits and due or 0, member
    end
    call('ZADD', ns .. 'l:' .. task, unpack(live))
    call('SADD', ns .. 'busy', task)
    call('ZADD', ns .. 'a', unpack(born))
    call('ZADD', ns .. 'a:' .. task, unpack(born))
    if scheduled then call('ZADD', ns .. 'fired', unpack(fired)) end
    if not waits then call('SADD', ns .. 'queues', queue) end
    call('ZADD', ns .. zset, unpack(waiting))
  end,
  set = function(id, fields, gone, where)
    local key = ns .. 'r:' .. id
    raise(key, 'v')
    if #fields > 0 then call('HSET', key, unpack(fields)) end
    if #gone > 0 then call('HDEL', key, unpack(gone)) end
    if where then place(id, key, where) end
  end,
  finish = function(id, task, fields, gone)
    local key = ns .. 'r:' .. id
    task = call('HGET', key, 'task') or task -- it may bear another name by now than its node knows
    place(id, key, { 'ended' })
    raise(key, 'v')
    call('HDEL', key, 'rs', 'stop', 'plain', 'lapses_at', unpack(gone))
    call('HSET', key, unpack(fields))
    call('ZREM', ns .. 'lapses', id)
    call('ZREM', ns .. 'fired', id)
    call('ZREM', ns .. 'l:' .. task, id)
    if call('EXISTS', ns .. 'l:' .. task) == 0 then call('SREM', ns .. 'busy', task) end
    local seq = count_up('eseq')
    call('ZADD', ns .. 'e:' .. task, seq, id)
    call('ZADD', ns .. 'ended', seq, id)
    worn[task] = true
  end,
  -- Many at once that have to do with nobody else, each as id, task, token before and after, status, instant, and what
  -- is said of it; which of them are not to end in this way. What they share is written once for all of them, and what
  -- is wrong with one task's sets leaves those of others whole.
  ends = function(asked)
    local missed, done, owners, tasks, ended = {}, {}, {}, {}, {}
    for number, one in ipairs(asked) do
      local key = ns .. 'r:' .. one[1]
      local at = redis.pcall('HMGET', key, 'token', 'state', 'plain', 'stop', 'owner', 'zk', 'v', 'task')
      if at.err or at[1] ~= one[3] or at[2] ~= RUNNING or at[3] ~= '1' or at[4] or not at[5] or at[6] then
        missed[#missed + 1] = number
      else
        local version = next_of(at[7])
        local gone = { 'owner', 'rs', 'plain', 'lapses_at' }
        local fields = { 'state', ENDED, 'v', version, 'token', one[4], 'status', one[5], 'finished_at', one[6] }
        for place, name in ipairs(SAID) do
          local said = one[6 + place]
          if said then
            fields[#fields + 1], fields[#fields + 2] = name, said
          else
            gone[#gone + 1] = name
          end
        end
        call('HDEL', key, unpack(gone))
        call('HSET', key, unpack(fields))
        done[#done + 1] = one[1]
        into(owners, at[5], one[1])
        into(tasks, at[8] or one[2], one[1]) -- it may bear another name by now than its node knows
      end
    end
    if #done == 0 then return #missed > 0 and missed or nil end
    local trouble
    local function try(work, ...)
      local fine, why = pcall(work, ...)
      if not fine and wrong_kind(why) then
        call = careful
        fine, why = pcall(work == redis.call and careful or work, ...)
        call = redis.call
      end
      if not fine then trouble = trouble or why end
    end
    for owner, ids in pairs(owners) do try(let_go, owner, ids) end
    local last = count_up('eseq', #done) - #done
    local seqs = {}
    for number, id in ipairs(done) do
      seqs[id] = last + number
      ended[#ended + 1] = last + number
      ended[#ended + 1] = id
    end
    for task, ids in pairs(tasks) do
      worn[task] = true
      try(retire, task, ids, seqs)
    end
    try(call, 'ZADD', ns .. 'ended', unpack(ended))
    try(call, 'ZREM', ns .. 'lapses', unpack(done))
    try(call, 'ZREM', ns .. 'fired', unpack(done))
    if trouble then error(trouble, 0) end
    return #missed > 0 and missed or nil
  end,
  record = function(id, task, created, fields)
    local key = ns .. 'r:' .. id
    if not again and call('EXISTS', key) == 1 then return end
    local seq = count_up('eseq')
    call('HSET', key, 'state', ENDED, 'v', 1, unpack(fields))
    call('ZADD', ns .. 'a', created, id)
    call('ZADD', ns .. 'a:' .. task, created, id)
    call('ZADD', ns .. 'e:' .. task, seq, id)
    call('ZADD', ns .. 'ended', seq, id)
    worn[task] = true
  end,
  start = function(id, owner, node)
    local key = ns .. 'r:' .. id
    place(id, key, { 'running', owner })
    raise(key, 'v')
    raise(key, 'token')
    raise(key, 'attempt')
    call('HSET', key, 'status', 'RUNNING', 'node', node, 'started_at', now_text)
    call('HSETNX', key, 'first_at', now_text)
    call('HDEL', key, 'lapses_at')
    call('ZREM', ns .. 'lapses', id)
    return call('HGETALL', key)
  end,
  edit = function(task, fields, gone)
    local version = count_up('edits')
    if #fields > 0 then call('HSET', ns .. 't:' .. task, unpack(fields)) end
    if #gone > 0 then call('HDEL', ns .. 't:' .. task, unpack(gone)) end
    call('HSET', ns .. 't:' .. task, 'version', version)
    call('ZADD', ns .. 'ed', version, task)
    worn[task] = true
    arm(task)
  end,
  move = function(task, next_at, counted)
    if next_at then
      call('HSET', ns .. 't:' .. task, 'next_at', next_at)
    else
      call('HDEL', ns .. 't:' .. task, 'next_at')
    end
    arm(task)
    if counted ~= '0' then redis.pcall('HINCRBY', ns .. 't:' .. task, 'made', counted) end
  end,
  count = function(name) return count_up(name) end,
  bump = function(key) call('HSET', ns .. 'k:' .. key, 'v', count_up('versions')) end,
  forget = function(id, task)
    if call('EXISTS', ns .. 'f:' .. id) == 1 then return 0 end
    forget(id, task)
    return 1
  end,
  enter = function(node, name, lease)
    living[node] = nil
    call('ZADD', ns .. 'nodes', wall() + lease, node)
    call('HSET', ns .. 'names', node, name)
    call('HSET', ns .. 'came', node, text(wall()) .. ':' .. lease)
  end,
  unowned = function(node)
    if call('EXISTS', ns .. 'o:' .. node) == 0 then call('SREM', ns .. 'owners', node) end
  end,
  renew = function(node, lease) call('ZADD', ns .. 'nodes', 'XX', wall() + lease, node) end,
  told = function(run, upstream, how)
    if call('EXISTS', ns .. 'n:' .. run) == 0 then return end
    call('HSET', ns .. 'n:' .. run, upstream, how)
    local at = call('HMGET', ns .. 'r:' .. run, 'state', 'seq')
    if at[1] == BLOCKED then call('ZADD', ns .. 'told', string.match(at[2] or '', '^%d+$') or '0', run) end
  end,
  -- Lets a run be another task's; without fields: what was only found there and is no run.
  move_run = function(id, before, task, fields)
    if fields then
      local key = ns .. 'r:' .. id
      raise(key, 'v')
      call('HSET', key, 'task', task, unpack(fields))
    end
    for _, kind in ipairs({ 'l:', 'e:', 'a:' }) do
      local at = call('ZSCORE', ns .. kind .. before, id)
      if at then
        call('ZREM', ns .. kind .. before, id)
        if fields then call('ZADD', ns .. kind .. task, at, id) end
        if fields and kind == 'l:' then call('SADD', ns .. 'busy', task) end
      end
    end
    if call('EXISTS', ns .. 'l:' .. before) == 0 then call('SREM', ns .. 'busy', before) end
  end,
  -- Lets as much be kept of a task that does not stand yet as of the other.
  keep_as = function(task, before)
    local limit = call('HGET', ns .. 't:' .. before, 'history_limit')
    if limit then call('HSETNX', ns .. 't:' .. task, 'history_limit', limit) end
  end,
  rename = function(before, task)
    call('RENAME', ns .. 't:' .. before, ns .. 't:' .. task)
    call('ZREM', ns .. 'ed', before)
    call('ZREM', ns .. 'due', before)
    local version = count_up('edits')
    call('HSET', ns .. 't:' .. task, 'version', version)
    call('ZADD', ns .. 'ed', version, task)
    worn[task] = true
    arm(task)
  end,
  drop = function(task)
    call('DEL', ns .. 't:' .. task, ns .. 'ms:' .. task, ns .. 'mt:' .. task)
    call('ZREM', ns .. 'ed', task)
    call('ZREM', ns .. 'due', task)
    call('SREM', ns .. 'joins', task)
    count_up('edits')
  end,
  -- Lets what is known of a limit, and who has a place, be known by another name; who waits stays, and passes no more.
  rename_key = function(before, key)
    local known, holders = call('HGETALL', ns .. 'k:' .. before), call('HGETALL', ns .. 'h:' .. before)
    if #holders > 0 then call('HSET', ns .. 'h:' .. key, unpack(holders)) end
    call('DEL', ns .. 'k:' .. before, ns .. 'h:' .. before)
    for place = 1, #known, 2 do
      if known[place] ~= 'moved' and known[place] ~= 'v' then
        call('HSETNX', ns .. 'k:' .. key, known[place], known[place + 1])
      end
    end
    for _, zset in ipairs({ 'kwake', 'klast', 'kfade' }) do
      local at = call('ZSCORE', ns .. zset, before)
      if at then
        call('ZREM', ns .. zset, before)
        call('ZADD', ns .. zset, 'NX', at, key)
      end
    end
    call('HSET', ns .. 'k:' .. before, 'moved', key, 'v', count_up('versions'))
    call('SADD', ns .. 'moving', before)
    call('HSET', ns .. 'k:' .. key, 'v', count_up('versions'))
  end,
  move_waiting = function(id, member, before, key, fields)
    local run = ns .. 'r:' .. id
    raise(run, 'v')
    call('ZREM', ns .. 'q:' .. before, member)
    call('ZADD', ns .. 'q:' .. key, 0, member)
    call('HSET', run, 'zk', 'q:' .. key, unpack(fields))
  end,
  -- Forgets that a name was left, where nobody waits there any more.
  open_key = function(name)
    if call('EXISTS', ns .. 'q:' .. name) == 0 then
      call('DEL', ns .. 'k:' .. name)
    else
      call('HDEL', ns .. 'k:' .. name, 'moved')
    end
    call('SREM', ns .. 'moving', name)
  end,
  -- Puts a run back among those by which it is found; one that says nothing of its task is none, and set aside.
  index = function(id)
    local key = ns .. 'r:' .. id
    local run = call('HMGET', key, 'task', 'state', 'seq', 'created_at')
    local task = run[1]
    if not task then
      set_aside(key)
      for _, zset in ipairs({ 'a', 'ended', 'lapses', 'fired', 'delayed', 'kdelayed', 'parked', 'told' }) do
        call('ZREM', ns .. zset, id)
      end
      return
    end
    local made = string.match(run[4] or '', '^%-?%d+$') or '0'
    call('ZADD', ns .. 'a', made, id)
    call('ZADD', ns .. 'a:' .. task, made, id)
    if run[2] == ENDED then
      local seq = count_up('eseq')
      call('ZREM', ns .. 'l:' .. task, id)
      call('ZADD', ns .. 'e:' .. task, 'NX', seq, id)
      call('ZADD', ns .. 'ended', 'NX', seq, id)
    else
      local seq = string.match(run[3] or '', '^%d+$')
      if not seq then
        seq = count_up('seq')
        call('HSET', key, 'seq', seq)
      end
      call('ZADD', ns .. 'l:' .. task, seq, id)
      call('SADD', ns .. 'busy', task)
    end
  end,
  -- Lets a live run count as on its way, if all else says so, from an instant on, or at once.
  count_from = function(id, task, due)
    call('ZADD', ns .. 'l:' .. task, 'XX', due and text(BEHIND + due) or call('HGET', ns .. 'r:' .. id, 'seq') or 0, id)
  end,
  -- Forgets runs that were written ahead of their flow.
  unstage = function(stage, ids)
    for _, id in ipairs(ids) do
      local run = call('HMGET', ns .. 'r:' .. id, 'stage', 'task')
      if run[1] == stage and run[2] then
        for _, need in ipairs(call('HKEYS', ns .. 'n:' .. id)) do call('SREM', ns .. 'f:' .. need, id) end
        call('DEL', ns .. 'n:' .. id, ns .. 'f:' .. id)
        call('ZREM', ns .. 'told', id)
        call('ZREM', ns .. 'l:' .. run[2], id)
        if call('EXISTS', ns .. 'l:' .. run[2]) == 0 then call('SREM', ns .. 'busy', run[2]) end
        forget(id, run[2])
      end
    end
    call('SREM', ns .. 'staged:' .. stage, unpack(ids))
  end,
  until_now = function(digests)
    for _, digest in ipairs(digests) do call('HSET', ns .. 'until', digest, now_text) end
  end,
}

-- What a unit has come to: its changes are not taken back if one fails.
local reached, made
local function carry_out(unit)
  if reached == 0 then
    for _, check in ipairs(unit[1]) do
      if not checks[check[1]](unpack(check, 2)) then return 0 end
    end
    made = {}
  end
  for place = math.max(reached, 1), #unit[2] do
    local change = unit[2][place]
    reached = place
    made[place] = changes[change[1]](unpack(change, 2)) or 1
    again = false
  end
  return made
end

local answers = {}
for number, unit in ipairs(asked) do
  reached = 0
  local fine, answer = pcall(carry_out, unit)
  if not fine and wrong_kind(answer) then -- what has failed is done again, and the rest
    call, again = careful, reached > 0
    fine, answer = pcall(carry_out, unit)
    call, again = redis.call, false
  end
  if not fine then answer = type(answer) == 'table' and answer.err or tostring(answer) end -- the others are not concerned
  answers[number] = answer
end
for task in pairs(worn) do
  local fine, why = pcall(prune, task)
  if not fine and wrong_kind(why) then
    call = careful
    prune(task)
    call = redis.call
  end
end
return { now_text, count_up('count'), cjson.encode(answers) }
