-- What all scripts share. KEYS[1] is what every key begins with, its hash tag included. Instants are whole microseconds
-- since the epoch, UTC. These scripts compare and set; what to set was decided before they are called.
--
--   r:<run>    hash: the run, live or ended     t:<task>   hash: the task
--   l:<task>   live runs by their place         e:<task>   ended runs, in the order of their ends
--   a, a:<task>  all runs by when they were made  ended      all ended runs, in that order
--   y:<queue>  ready runs, foremost first       delayed, kdelayed  runs by when they are due; the latter have a key
--   k:<key>    what is known of a limit         q:<key>, h:<key>   who waits for it, who holds a place
--   o:<node>   what runs at a node              st:<node>  what of that is to stop, and why
--   n:<run>    what a run needs                 f:<run>    who needs it
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

local function place(id, key, where)
  local at = call('HMGET', key, 'zk', 'zm', 'owner', 'seq')
  if at[1] then call('ZREM', ns .. at[1], at[2]) end
  if at[3] then
    call('SREM', ns .. 'o:' .. at[3], id)
    call('HDEL', ns .. 'st:' .. at[3], id)
    if call('EXISTS', ns .. 'o:' .. at[3]) == 0 then call('SREM', ns .. 'owners', at[3]) end
  end
  call('HDEL', key, 'zk', 'zm', 'owner')
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
