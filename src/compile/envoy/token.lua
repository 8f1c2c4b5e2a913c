-- Finds the identity that a verified token proves, as `policy::token` does; a test with Envoy compares both. Writes it
-- into metadata for the deciding filter, and the check that the token failed for the access log.
-- ATTEMPT

-- Listed identities: `ISSUER<TAB>SUBJECT<TAB>AUDIENCE`, with the id of the service account, or true where none is known.
local IDENTITIES = {}
-- Their issuers and subjects: `ISSUER<TAB>SUBJECT`.
local SUBJECTS = {}
-- Pods by address: `NAMESPACE/ACCOUNT<TAB>UID`.
local PODS = {}
local CLUSTER_ISSUER = ""
local MAX_LIFETIME = 0

local function table_of(value)
  return type(value) == "table" and value or {}
end

-- Returns the first of the token's audiences with which the subject is listed, as an identity.
local function listed(subject, audiences)
  if type(audiences) == "string" then audiences = {audiences} end
  for _, audience in ipairs(table_of(audiences)) do
    local identity = subject .. "\t" .. tostring(audience)
    if IDENTITIES[identity] then return identity end
  end
end

-- Whether the token is of the service account that exists now.
local function is_existing(identity, payload)
  local account = table_of(table_of(payload["kubernetes.io"]).serviceaccount)
  return IDENTITIES[identity] == true or IDENTITIES[identity] == account.uid
end

local function is_time(value)
  return type(value) == "number" and value == math.floor(value)
end

local function is_short(payload)
  if not (is_time(payload.iat) and is_time(payload.exp)) then return false end
  local lifetime = payload.exp - payload.iat
  return lifetime >= 1 and lifetime <= MAX_LIFETIME
end

-- Returns the identity; else nil and the check that failed.
local function identify(payload)
  local subject = tostring(payload.iss) .. "\t" .. tostring(payload.sub)
  if not SUBJECTS[subject] then return nil, "NO_SUBJECT" end
  local identity = listed(subject, payload.aud)
  if not identity then return nil, "NO_AUDIENCE" end
  if not is_existing(identity, payload) then return nil, "NO_ACCOUNT" end
  if not is_short(payload) then return nil, "NO_LIFETIME" end
  return identity
end

-- Returns the service account if the peer is a pod of it, and the one to which the token is bound.
local function pod_account(payload, peer)
  local address = peer:match("^([%d.]+):%d+$")
  local account, uid = (PODS[address or ""] or ""):match("^([^\t]+)\t(.*)$")
  if not account or CLUSTER_ISSUER == "" or payload.iss ~= CLUSTER_ISSUER then return nil end
  if payload.sub ~= "SERVICE_ACCOUNT" .. account:gsub("/", ":") then return nil end
  local bound = table_of(table_of(payload["kubernetes.io"]).pod).uid
  if bound ~= nil and bound ~= uid then return nil end
  return account
end

function envoy_on_request(handle)
  local info = handle:streamInfo()
  local metadata = info:dynamicMetadata()
  local verified = table_of(metadata:get("envoy.filters.http.jwt_authn"))
  local problem
  if verified.payload then
    local identity
    identity, problem = identify(verified.payload)
    if identity then
      metadata:set("METADATA", "IDENTIFIED", identity)
      local account = pod_account(verified.payload, info:downstreamDirectRemoteAddress())
      if account then
        metadata:set("METADATA", "POD_ACCOUNT", account)
      elseif next(PODS) then
        problem = "NO_POD"
      end
    end
  elseif handle:headers():get("x-vaultwall-token") then
    problem = table_of(verified.failure).message or "NO_ISSUER"
  end
  if problem then metadata:set("METADATA", "PROBLEM", problem) end
end
