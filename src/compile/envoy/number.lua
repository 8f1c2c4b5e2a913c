-- Numbers denials, so that the operator can say how many records of them did not reach it. Envoy gives each of its
-- workers a copy of this script, with variables of its own: each copy is one sequence.

-- A copy's table has an address that no other copy of this process has; the time tells apart the processes.
local sequence = string.format("%x-%s", os.time(), tostring({}):match("%x+$"))
local last = 0

function envoy_on_response(handle)
  last = last + 1
  handle:streamInfo():dynamicMetadata():set("METADATA", "KEY", sequence .. "/" .. last)
end
