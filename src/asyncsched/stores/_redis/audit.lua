-- Tells which of these runs are not where they are looked for. ARGV[1]: their ids, as a JSON list. The answer: ids, each
-- followed by what is amiss.
local FINAL = { SUCCESS = true, FAILED = true, SKIPPED = true, CANCELLED = true }
local most = 200

local function is_at(zset, member)
  return call('ZSCORE', ns .. zset, member)
end

local function placed(id, run)
  local state, zk, zm = run[2], run[3], run[4]
  if state == RUNNING then
    return run[5] and call('SISMEMBER', ns .. 'o:' .. run[5], id) == 1 and call('SISMEMBER', ns .. 'owners', run[5]) == 1
  end
  if not zk or not zm or run[5] then return false end
  local at = is_at(zk, zm)
  if not at then return false end
  if state == READY then return string.sub(zk, 1, 2) == 'y:' and call('SISMEMBER', ns .. 'queues', string.sub(zk, 3)) == 1 end
  if state == QUEUED then return string.sub(zk, 1, 2) == 'q:' end
  if state == PARKED then return zk == 'parked' end
  return (zk == 'delayed' or zk == 'kdelayed') and tonumber(at) == tonumber(run[7])
end

-- Whether a blocked run is told how what it needs ends. Of very many the first are looked at.
local function told(id, edges)
  local needs = call('HLEN', ns .. 'n:' .. id)
  local fine, said = pcall(cjson.decode, edges or '{}')
  if not fine or type(said) ~= 'table' or type(said.needs or {}) ~= 'table' then return true end -- who reads it tells
  if needs < #(said.needs or {}) then return false end
  for number, need in ipairs(said.needs or {}) do
    if number > most then return true end
    if type(need) ~= 'string' then return true end
    local how = call('HGET', ns .. 'n:' .. id, need)
    if not how then return false end
    if how == '' then
      local state = call('HGET', ns .. 'r:' .. need, 'state')
      if not state or state == ENDED or call('SISMEMBER', ns .. 'f:' .. need, id) == 0 then return false end
    elseif not is_at('told', id) then
      return false
    end
  end
  return true
end

-- Whether a limit knows what it has let this run have: a place, and before it runs a start that was promised.
local function held(id, state, terms)
  if not string.find(terms or '', '"limit_key":', 1, true) then return true end
  local fine, said = pcall(cjson.decode, terms)
  if not fine or type(said) ~= 'table' or type(said.limit_key) ~= 'string' then return true end
  if call('HEXISTS', ns .. 'k:' .. said.limit_key, 'moved') == 1 then return true end -- who renames it sees to that
  local flags = tonumber(call('HGET', ns .. 'h:' .. said.limit_key, id) or '0') or 0
  local limited = said.limit == nil or type(said.limit) == 'number' -- by default one at a time; null: any number
  local rated = type(said.rate) == 'table' and state == READY
  return (not limited or flags % 2 == 1) and (not rated or flags >= 2)
end

local function amiss(id)
  local run = call('HMGET', ns .. 'r:' .. id, 'task', 'state', 'zk', 'zm', 'owner', 'seq', 'due_at', 'status', 'edges',
    'terms')
  local task, state = run[1], run[2]
  if not task then return call('EXISTS', ns .. 'r:' .. id) == 1 and 'task' end
  if hidden(ns .. 'r:' .. id) then return false end
  local ended = FINAL[run[8] or ''] or false
  if state == ENDED and ended then
    return not (is_at('e:' .. task, id) and is_at('ended', id) and is_at('a', id) and is_at('a:' .. task, id)
      and not is_at('l:' .. task, id)) and 'history'
  end
  if ended or state == ENDED or not state or not string.find(state, '^[0-5]$') then return 'state' end
  if not (is_at('l:' .. task, id) and call('SISMEMBER', ns .. 'busy', task) == 1) then return 'index' end
  if not (is_at('a', id) and is_at('a:' .. task, id)) then return 'index' end
  if state == BLOCKED then return not told(id, run[9]) and 'needs' end
  if not placed(id, run) then return 'place' end
  return (state == READY or state == RUNNING) and not held(id, state, run[10]) and 'limit'
end

local found = {}
for _, id in ipairs(cjson.decode(ARGV[1])) do
  local why = amiss(id)
  if why then
    found[#found + 1] = id
    found[#found + 1] = why
  end
end
return found
