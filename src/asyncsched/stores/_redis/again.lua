-- Carries out commands; what they meet of another kind than it should be is set aside before. ARGV: they, as JSON.
local answers = {}
for place, command in ipairs(cjson.decode(ARGV[1])) do answers[place] = careful(unpack(command)) end
return answers
