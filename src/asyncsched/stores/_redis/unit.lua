-- Carries out units: each is a list of checks and a list of changes, which are made if all checks hold.
-- ARGV[1]: the units as JSON. The answer: now, how often this was ever called, and for each unit what its changes gave,
-- 0 if a check does not hold, or a text that says why it could not be carried out.
local asked = cjson.decode(ARGV[1])
local worn = {}
local living = {} -- whether nodes have their leases, as far as that was asked in this call

local function forget(id, task)
  call('DEL', ns .. 'r:' .. id)
  call('ZREM', ns .. 'e:' .. task, id)
  call('ZREM', ns .. 'ended', id)
  call('ZREM', ns .. 'a', id)
  call('ZREM', ns .. 'a:' .. task, id)
end

-- What is beyond the keeping of the task; what somebody still needs the result of stays.
local function prune(task)
  local limit = tonumber(call('HGET', ns .. 't:' .. task, 'history_limit') or '100') or 100
  local surplus = call('ZCARD', ns .. 'e:' .. task) - limit
  if surplus > 0 then
    for _, id in ipairs(call('ZRANGE', ns .. 'e:' .. task, 0, surplus - 1)) do
      if call('EXISTS', ns .. 'f:' .. id) == 0 then forget(id, task) end
    end
  end
end

-- How many runs of a task are on their way, up to so many.
local function met(task, most)
  local found, start = 0, 0
  while found < most do
    local ids = call('ZRANGE', ns .. 'l:' .. task, start, start + 99)
    for _, id in ipairs(ids) do
      local run = call('HMGET', ns .. 'r:' .. id, 'state', 'attempt', 'due_at', 'edges', 'terms')
      local begun = run[2] ~= '0' or (tonumber(run[3] or '0') or 0) <= now
      local follows = run[1] == BLOCKED and not string.find(run[4] or '', '"kind":"gate"', 1, true)
      local late = run[5] and string.find(run[5], '"backfill":', 1, true)
      if begun and run[1] ~= PARKED and not follows and not late then
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
    call('ZADD', ns .. 'due', at[1], task)
  else
    call('ZREM', ns .. 'due', task)
  end
end

local function same(found, given)
  return (found or false) == (given or false)
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
  alive = function(node)
    if living[node] == nil then living[node] = tonumber(call('ZSCORE', ns .. 'nodes', node) or '0') > wall() end
    return living[node]
  end,
  dead = function(node) return tonumber(call('ZSCORE', ns .. 'nodes', node) or '0') <= wall() end,
}

local changes = {
  call = function(command, key, ...) return call(command, ns .. key, ...) end,
  new = function(id, task, created, fields, where, scheduled)
    local key = ns .. 'r:' .. id
    if call('EXISTS', key) == 1 then return end -- who was not told the first time says it again
    local seq = call('INCR', ns .. 'seq')
    call('HSET', key, 'seq', seq, 'v', 1, unpack(fields))
    call('ZADD', ns .. 'l:' .. task, seq, id)
    call('SADD', ns .. 'busy', task)
    call('ZADD', ns .. 'a', created, id)
    call('ZADD', ns .. 'a:' .. task, created, id)
    if scheduled then call('ZADD', ns .. 'fired', seq, id) end
    place(id, key, where)
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
    place(id, key, { 'ended' })
    raise(key, 'v')
    call('HDEL', key, 'rs', 'stop', 'plain', 'lapses_at', unpack(gone))
    call('HSET', key, unpack(fields))
    call('ZREM', ns .. 'lapses', id)
    call('ZREM', ns .. 'fired', id)
    call('ZREM', ns .. 'l:' .. task, id)
    if call('EXISTS', ns .. 'l:' .. task) == 0 then call('SREM', ns .. 'busy', task) end
    local seq = call('INCR', ns .. 'eseq')
    call('ZADD', ns .. 'e:' .. task, seq, id)
    call('ZADD', ns .. 'ended', seq, id)
    worn[task] = true
  end,
  -- Many at once that have to do with nobody else, each as id, task, token, fields, and fields that go; which of them
  -- are not to end in this way. What they share is written once for all of them, and what is wrong with one task's
  -- sets leaves those of others whole.
  ends = function(asked)
    local missed, done, owners, tasks, ended = {}, {}, {}, {}, {}
    for number, one in ipairs(asked) do
      local key = ns .. 'r:' .. one[1]
      local at = redis.pcall('HMGET', key, 'token', 'state', 'plain', 'stop', 'owner', 'zk', 'v')
      if at.err or at[1] ~= one[3] or at[2] ~= RUNNING or at[3] ~= '1' or at[4] or not at[5] or at[6] then
        missed[#missed + 1] = number
      else
        local version = next_of(at[7])
        call('HDEL', key, 'owner', 'rs', 'plain', 'lapses_at', unpack(one[5]))
        call('HSET', key, 'state', ENDED, 'v', version, unpack(one[4]))
        done[#done + 1] = one[1]
        into(owners, at[5], one[1])
        into(tasks, one[2], one[1])
      end
    end
    if #done == 0 then return #missed > 0 and missed or nil end
    local trouble
    local function try(work, ...)
      local fine, why = pcall(work, ...)
      if not fine then trouble = trouble or why end
    end
    for owner, ids in pairs(owners) do try(let_go, owner, ids) end
    local last = call('INCRBY', ns .. 'eseq', #done) - #done
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
    if call('EXISTS', key) == 1 then return end
    local seq = call('INCR', ns .. 'eseq')
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
    local version = call('INCR', ns .. 'edits')
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
    if counted ~= '0' then redis.pcall('HINCRBY', ns .. 't:' .. task, 'made', counted) end
    arm(task)
  end,
  bump = function(key) call('HSET', ns .. 'k:' .. key, 'v', call('INCR', ns .. 'versions')) end,
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
  renew = function(node, lease) call('ZADD', ns .. 'nodes', 'XX', wall() + lease, node) end,
  told = function(run, upstream, how)
    if call('EXISTS', ns .. 'n:' .. run) == 0 then return end
    call('HSET', ns .. 'n:' .. run, upstream, how)
    local at = call('HMGET', ns .. 'r:' .. run, 'state', 'seq')
    if at[1] == BLOCKED then call('ZADD', ns .. 'told', at[2], run) end
  end,
  merge = function(into, from)
    call('ZUNIONSTORE', ns .. into, 2, ns .. into, ns .. from, 'AGGREGATE', 'MAX')
    call('DEL', ns .. from)
  end,
  busy = function(before, task)
    if call('SREM', ns .. 'busy', before) == 1 then call('SADD', ns .. 'busy', task) end
    worn[task] = true
  end,
  rename = function(before, task)
    call('RENAME', ns .. 't:' .. before, ns .. 't:' .. task)
    call('ZREM', ns .. 'ed', before)
    call('ZREM', ns .. 'due', before)
    local version = call('INCR', ns .. 'edits')
    call('HSET', ns .. 't:' .. task, 'version', version)
    call('ZADD', ns .. 'ed', version, task)
    arm(task)
  end,
  drop = function(task)
    call('DEL', ns .. 't:' .. task, ns .. 'ms:' .. task, ns .. 'mt:' .. task)
    call('ZREM', ns .. 'ed', task)
    call('ZREM', ns .. 'due', task)
    call('SREM', ns .. 'joins', task)
    call('INCR', ns .. 'edits')
  end,
  rename_key = function(before, key)
    for _, kind in ipairs({ 'h:', 'k:' }) do
      if call('EXISTS', ns .. kind .. before) == 1 then call('RENAME', ns .. kind .. before, ns .. kind .. key) end
    end
    for _, zset in ipairs({ 'kwake', 'klast', 'kfade' }) do
      local at = call('ZSCORE', ns .. zset, before)
      if at then
        call('ZREM', ns .. zset, before)
        call('ZADD', ns .. zset, at, key)
      end
    end
    for _, member in ipairs(call('ZRANGE', ns .. 'q:' .. before, 0, -1)) do
      local id = string.sub(member, string.find(member, ':', 1, true) + 1)
      call('ZADD', ns .. 'q:' .. key, 0, member)
      call('HSET', ns .. 'r:' .. id, 'zk', 'q:' .. key)
    end
    call('DEL', ns .. 'q:' .. before)
    call('HSET', ns .. 'k:' .. key, 'v', call('INCR', ns .. 'versions'))
  end,
  until_now = function(digests)
    for _, digest in ipairs(digests) do call('HSET', ns .. 'until', digest, now_text) end
  end,
}

local function carry_out(unit)
  for _, check in ipairs(unit[1]) do
    if not checks[check[1]](unpack(check, 2)) then return 0 end
  end
  local answer = {}
  for place, change in ipairs(unit[2]) do
    answer[place] = changes[change[1]](unpack(change, 2)) or 1
  end
  return answer
end

local answers = {}
for number, unit in ipairs(asked) do
  local fine, answer = pcall(carry_out, unit)
  if not fine then answer = type(answer) == 'table' and answer.err or tostring(answer) end -- the others are not concerned
  answers[number] = answer
end
for task in pairs(worn) do prune(task) end
return { now_text, call('INCR', ns .. 'count'), cjson.encode(answers) }
