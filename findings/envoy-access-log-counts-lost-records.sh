#!/usr/bin/env bash
# Envoy: the gRPC access log counts records as written that no server received.
# Expected: without any server of the access log, logs_dropped counts the records and logs_written does not.
# Seen with Envoy 1.40.0 on 2026-11-30:
# all records are in logs_written, none in logs_dropped.
# Consequence: these counters cannot show gaps in a log; number the records, or keep a log on standard output.
. "$(dirname -- "$0")/lib.sh"

# Nothing listens at the address of the cluster.
fields='
access_log:
- name: log
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
    common_config:
      log_name: log
      transport_api_version: V3
      grpc_service: {envoy_grpc: {cluster_name: log}}
      buffer_size_bytes: 0'
start_proxy '' "$fields" log </dev/null
for _ in {1..10}; do curl --silent --fail "http://$host:8000/"; done
has_tried() { [ "$(count cluster.log.upstream_cx_connect_fail)" -gt 0 ]; }
until_true is_count access_logs.grpc_access_log.logs_written 10
until_true has_tried
sleep 3 # a record that Envoy drops later would count
failed=$(count cluster.log.upstream_cx_connect_fail)
saw 'failed connections to the log server' "$([ "$failed" -gt 0 ] && echo some)" some
saw 'opened connections to it' "$(($(count cluster.log.upstream_cx_total) - failed))" 0
saw 'logs_written' "$(count access_logs.grpc_access_log.logs_written)" 10
saw 'logs_dropped' "$(count access_logs.grpc_access_log.logs_dropped)" 0
conclude
