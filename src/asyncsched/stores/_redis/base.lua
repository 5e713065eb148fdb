-- What all scripts share. KEYS[1] is what every key begins with, its hash tag included. Instants are whole microseconds
-- since the epoch, UTC. These scripts compare and set; what to set was decided before they are called.
--
--   r:<run>    hash: the run, live or ended     t:<task>   hash: the task
--   l:<task>   live runs by their place; behind all those that wait for their instant, by that, and last what is not
--              on its way before something else has happened    e:<task>   ended runs, in the order of their ends
--   a, a:<task>  all runs by when they were made  ended      all ended runs, in that order
--   y:<queue>  ready runs, foremost first       delayed, kdelayed  runs by when they are due; the latter have a key
--   k:<key>    what is known of a limit         q:<key>, h:<key>   who waits for it, who holds a place
--   o:<node>   what runs at a node              st:<node>  what of that is to stop, and why
--   n:<run>    what a run needs                 f:<run>    who needs it
--   nodes      the nodes' leases                names, came, said  what is known of nodes; asked: those to drain
--   pruned     to where the ended runs of tasks were looked at, where others need very many of them
--   moving     keys of limits whose names are being changed
--   stages, staged:<stage>  flows that are not written as a whole yet, and whose they are; their runs so far
--   aside, marred:<key>  what was of another kind than it should be, since nobody has told of it; and it itself
local ns = KEYS[1]
local call = redis.call
local READY, RUNNING, DELAYED, BLOCKED, QUEUED, PARKED, ENDED = '0', '1', '2', '3', '4', '5', '9'

local function wall()
  local at = call('TIME')
  return at[1] * 1000000 + at[2]
end

-- Where somebody moves the clock by hand, that is the clock; but never that of the leases.
local hand = call('GET', ns .. 'clock')
local now = hand and tonumber(hand) or wall()

local function text(number)
  return string.format('%.0f', number)
end
local now_text = text(now)

-- What is of another kind than it should be was not written by us: it goes where it holds up nobody, and it is told.
local function set_aside(key)
  local name = string.sub(key, #ns + 1)
  if redis.call('EXISTS', key) == 1 then redis.call('RENAME', key, ns .. 'marred:' .. name) end
  if type(redis.pcall('HSET', ns .. 'aside', name, now_text)) == 'table' then
    redis.call('DEL', ns .. 'aside')
    redis.call('HSET', ns .. 'aside', name, now_text)
  end
end

local function wrong_kind(why)
  return string.find(type(why) == 'table' and why.err or tostring(why), 'WRONGTYPE', 1, true)
end

-- Takes the place of `call` once that has met something of another kind: it then finds nothing there.
local function careful(command, ...)
  local answer = redis.pcall(command, ...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if not wrong_kind(answer) then error(answer, 0) end
  set_aside((...))
  return redis.call(command, ...)
end

-- Counts; what is no number is none of ours, and no number that was given comes again.
local function count_up(name, many)
  local now_at = redis.pcall('INCRBY', ns .. name, many or 1)
  if type(now_at) == 'number' then return now_at end
  set_aside(ns .. name)
  redis.call('SET', ns .. name, text(2147483647 + (many or 1)))
  return 2147483647 + (many or 1)
end

-- What one cannot be added to was not written by us, and begins anew where there is nothing yet.
local function raise(key, field)
  local now_at = redis.pcall('HINCRBY', key, field, 1)
  if type(now_at) == 'table' then call('HSET', key, field, '2147483648') end
end

-- The same for a number that was read already, to be written together with others.
local function next_of(number)
  if not number then return '1' end
  if string.find(number, '^%d+$') and #number <= 15 then return number + 1 end
  return '2147483648'
end

-- Adds to a list of lists.
local function into(lists, name, value)
  local list = lists[name] or {}
  lists[name] = list
  list[#list + 1] = value
end

-- Whether this is a run of a flow that is not written as a whole yet: nobody is to know of it.
local staging
local function hidden(key)
  staging = staging or call('HLEN', ns .. 'stages')
  if staging == 0 then return false end
  local stage = call('HGET', key, 'stage')
  return stage and call('HEXISTS', ns .. 'stages', stage) == 1
end

local function place(id, key, where)
  local at = call('HMGET', key, 'zk', 'zm', 'owner', 'seq')
  at[4] = tonumber(at[4] or '0') or 0
  if at[1] then redis.pcall('ZREM', ns .. at[1], at[2] or id) end
  if at[3] then
    call('SREM', ns .. 'o:' .. at[3], id)
    call('HDEL', ns .. 'st:' .. at[3], id)
    if call('EXISTS', ns .. 'o:' .. at[3]) == 0 then call('SREM', ns .. 'owners', at[3]) end
  end
  if at[1] or at[3] then call('HDEL', key, 'zk', 'zm', 'owner') end
  local kind = where[1]
  if kind == 'wait' then
    kind = tonumber(where[2]) > now and 'delayed' or 'ready'
    where = kind == 'ready' and { kind, where[3], where[4] } or { kind, where[2], 'delayed' }
  end
  if kind == 'ready' or kind == 'queued' then
    local zset = (kind == 'ready' and 'y:' or 'q:') .. where[2]
    local member = where[3] .. string.format('%012x', at[4]) .. ':' .. id
    call('ZADD', ns .. zset, 0, member)
    if kind == 'ready' then call('SADD', ns .. 'queues', where[2]) end
    call('HSET', key, 'zk', zset, 'zm', member, 'state', kind == 'ready' and READY or QUEUED)
  elseif kind == 'delayed' then
    call('ZADD', ns .. where[3], where[2], id)
    call('HSET', key, 'zk', where[3], 'zm', id, 'state', DELAYED)
  elseif kind == 'running' then
    call('SADD', ns .. 'o:' .. where[2], id)
    call('SADD', ns .. 'owners', where[2])
    call('HSET', key, 'owner', where[2], 'state', RUNNING)
  elseif kind == 'parked' then
    call('ZADD', ns .. 'parked', at[4], id)
    call('HSET', key, 'zk', 'parked', 'zm', id, 'state', PARKED)
  else
    call('HSET', key, 'state', kind == 'blocked' and BLOCKED or ENDED)
  end
end
