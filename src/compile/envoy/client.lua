-- Finds the client behind trusted proxies, as `policy::client_address` does; the differential test holds both against
-- each other. Leaves the address in a header for the filters, and a warning for people in metadata.
-- ATTEMPT

-- First and last address of each range of trusted proxies, one after the other, sorted and without overlaps.
local PROXIES = {}
local MAX_ENTRIES = 0
local MAX_LENGTH = 0

-- Converts an IPv4 address to its number. Returns nil for any other text.
local function number(text)
  local parts = {text:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$")}
  if #parts == 0 then return nil end
  local total = 0
  for _, part in ipairs(parts) do
    if part:match("^0.") or tonumber(part) > 255 then return nil end
    total = total * 256 + tonumber(part)
  end
  return total
end

local function listed(address)
  local wanted = number(address)
  if not wanted then return false end
  -- The last range that begins at the address or before it.
  local range, after = 0, #PROXIES / 2
  while range < after do
    local middle = math.ceil((range + after) / 2)
    if PROXIES[2 * middle - 1] <= wanted then range = middle else after = middle - 1 end
  end
  return range > 0 and wanted <= PROXIES[2 * range]
end

-- Returns the IPv4 address of an entry without its port; else nil and the entry's text.
local function read(entry)
  -- The patterns below would take long for a long one.
  if #entry > MAX_LENGTH then return nil, entry end
  local text = entry:match("^[ \t]*(.-)[ \t]*$")
  local plain = text:match("^([%d.]+):%d%d?%d?%d?%d?$") or text
  if number(plain) then return plain end
  local inner = text:match("^%[([^%]]*)%]$") or text:match("^%[([^%]]*)%]:%d%d?%d?%d?%d?$") or text
  local mapped = inner:lower():match("^::ffff:([%d.]+)$")
  if mapped and number(mapped) then return mapped end
  return nil, inner
end

-- Splits the header. Stops at one entry too many.
local function split(header)
  local entries = {}
  if header == "" then return entries end
  for entry in (header .. ","):gmatch("([^,]*),") do
    entries[#entries + 1] = entry
    if #entries > MAX_ENTRIES then break end
  end
  return entries
end

-- Returns the client's address; none if it is unknown, with a warning if the header cannot be read. And the number of
-- the entry with the address.
local function find(header)
  local entries = split(header)
  if #entries > MAX_ENTRIES then
    return nil, "X-Forwarded-For has more than " .. MAX_ENTRIES .. " entries"
  end
  local client, place = nil, nil
  for index = #entries, 1, -1 do
    local address, text = read(entries[index])
    if not address then
      -- IPv6: a client that no rule can hold.
      if #text <= 45 and text:match("^[%x:.]+$") and text:match(":.*:") then
        return text, nil, index
      end
      local shown = text:sub(1, 64):gsub("[^%g ]", "?")
      return nil, "entry " .. index .. " of X-Forwarded-For is no address: '" .. shown .. "'"
    end
    client, place = address, index
    if not listed(address) then break end
  end
  return client, nil, place
end

-- The header holds the peer, until the client replaces it.
function envoy_on_request(handle)
  local headers = handle:headers()
  if not listed(headers:get("x-vaultwall-client") or "") then return end
  local client, warning, place = find(headers:get("x-forwarded-for") or "")
  local metadata = handle:streamInfo():dynamicMetadata()
  if client then
    headers:replace("x-vaultwall-client", client)
    metadata:set("vaultwall", "clientAddressFrom", "entry " .. place .. " of X-Forwarded-For")
  end
  if warning then metadata:set("vaultwall", "clientAddressWarning", warning) end
end
