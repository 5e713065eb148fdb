-- Tells how runs, limit keys and texts stand, and what ties runs of flows to others. ARGV: JSON lists of their names, how
-- many are told of those that wait for a key, and whether what ties runs matters (1), and runs of flows that are not
-- written as a whole yet. The answer is JSON, after the instant.
local all = ARGV[6] == '1'
local function runs(ids)
  local found = {}
  for place, id in ipairs(ids) do
    local key = ns .. 'r:' .. id
    found[place] = not all and hidden(key) and {} or call('HGETALL', key)
  end
  return found
end

local keys, texts = {}, {}
for place, name in ipairs(cjson.decode(ARGV[2])) do
  local page = call('ZRANGE', ns .. 'q:' .. name, 0, ARGV[4] - 1)
  local ids = {}
  for number, member in ipairs(page) do ids[number] = string.match(member, ':(.*)') or '' end
  keys[place] = { call('HGETALL', ns .. 'k:' .. name), call('HGETALL', ns .. 'h:' .. name), page, runs(ids) }
end
for place, key in ipairs(cjson.decode(ARGV[3])) do texts[place] = call('GET', ns .. key) end
local ids, ties = cjson.decode(ARGV[1]), {}
for place, id in ipairs(ids) do
  ties[place] = false
  if ARGV[5] == '1' and call('HEXISTS', ns .. 'r:' .. id, 'flow') == 1 then
    ties[place] = { call('SMEMBERS', ns .. 'f:' .. id), call('HKEYS', ns .. 'n:' .. id) }
  end
end
return { now_text, cjson.encode({ runs(ids), keys, texts, ties }) }
