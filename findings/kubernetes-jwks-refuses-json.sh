#!/usr/bin/env bash
# Kubernetes: the API server's key set (/openid/v1/jwks) is refused to clients that accept application/json.
# Expected: 200, as a JWK set is JSON, and as the discovery document next to it answers.
# Seen with Kubernetes 1.36.3 on 2026-11-30:
# 406. Only application/jwk-set+json, a wildcard or no Accept header get 200. The discovery document accepts
# application/json and refuses application/jwk-set+json.
# Consequence: generic Kubernetes clients, which send "Accept: application/json", cannot fetch the keys without another
# header.
. "$(dirname -- "$0")/lib.sh"

start_api_server
code() { api --output /dev/null --write-out '%{http_code}' --header "Accept: $2" "$server$1"; }
saw 'keys, application/json' "$(code /openid/v1/jwks application/json)" 406
saw 'keys, application/jwk-set+json' "$(code /openid/v1/jwks application/jwk-set+json)" 200
saw 'keys, */*' "$(code /openid/v1/jwks '*/*')" 200
saw 'keys, no Accept header' "$(code /openid/v1/jwks '')" 200
saw 'discovery, application/json' "$(code /.well-known/openid-configuration application/json)" 200
saw 'discovery, application/jwk-set+json' "$(code /.well-known/openid-configuration application/jwk-set+json)" 406
conclude
