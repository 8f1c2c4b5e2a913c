#!/usr/bin/env bash
# Envoy: the gRPC access log counts records as written that no server received.
# Expected: without any server of the access log, logs_dropped counts the records and logs_written does not.
# Seen with Envoy 1.40.0 on 2026-11-30:
# all records are in logs_written, none in logs_dropped.
# Consequence: these counters cannot show gaps in a log; number the records, or keep a log on standard output.
. "$(dirname -- "$0")/lib.sh"

start_envoy <<'END'
node: {id: one, cluster: one}
admin: {address: {socket_address: {address: HOST, port_value: 9901}}}
static_resources:
  clusters:
  - name: log
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: # nothing listens there
      cluster_name: log
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: HOST, port_value: 18000}}}}]}]
  listeners:
  - address: {socket_address: {address: HOST, port_value: 8000}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          access_log:
          - name: log
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
              common_config:
                log_name: log
                transport_api_version: V3
                grpc_service: {envoy_grpc: {cluster_name: log}}
                buffer_size_bytes: 0
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
END
for _ in {1..10}; do curl --silent --fail "http://$host:8000/"; done
sleep 3
count() { curl --silent "http://$host:9901/stats?filter=^$1\$" | sed 's/.*: //'; }
failed=$(count cluster.log.upstream_cx_connect_fail)
saw 'failed connections to the log server' "$([ "$failed" -gt 0 ] && echo some)" some
saw 'opened connections to it' "$(($(count cluster.log.upstream_cx_total) - failed))" 0
saw 'logs_written' "$(count access_logs.grpc_access_log.logs_written)" 10
saw 'logs_dropped' "$(count access_logs.grpc_access_log.logs_dropped)" 0
conclude
