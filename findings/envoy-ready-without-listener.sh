#!/usr/bin/env bash
# Envoy: /ready of the admin endpoint is 200 although Envoy rejected its only listener.
# Expected: a proxy without any listener is not ready; or /ready stays 503 until a listener was accepted.
# Seen with Envoy 1.40.0 on 2026-11-30:
# the rejected update counts as the end of initialization; /ready is LIVE and 200, and no port is open.
# Consequence: a readiness probe should connect to the port of the listener.
. "$(dirname -- "$0")/lib.sh"

# The listener is correct, but its certificate does not exist (yet).
cat >"$work/listeners.yaml" <<END
resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: only
  address: {socket_address: {address: $host, port_value: 8000}}
  filter_chains:
  - transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
        common_tls_context:
          tls_certificates: [{certificate_chain: {filename: /absent/tls.crt}, private_key: {filename: /absent/tls.key}}]
    filters:
$(connection_manager | sed 's/^/    /')
END
start_envoy <<'END'
dynamic_resources: {lds_config: {path_config_source: {path: WORK/listeners.yaml}, resource_api_version: V3}}
END
until_true is_count listener_manager.lds.update_rejected 1
until_true curl --silent --fail "http://$host:9901/ready"
saw 'rejected updates of listeners' "$(count listener_manager.lds.update_rejected)" 1
saw 'active listeners' "$(count listener_manager.total_listeners_active)" 0
saw '/ready' "$(curl --silent --write-out '%{http_code}' "http://$host:9901/ready" | tr '\n' ' ')" 'LIVE 200'
code=0
curl --silent --insecure "https://$host:8000/" || code=$?
saw 'exit code of curl at the port (7: connection refused)' "$code" 7
conclude
