#!/usr/bin/env bash
# Envoy: a denial is HTTP 200, also in log and counters, if the client sends "content-type: application/grpc".
# Expected: a denied HTTP/1.1 request of curl is 403, whatever its content type is.
# Seen with Envoy 1.40.0 on 2026-11-30:
# status 200 with grpc-status 7, no body; %RESPONSE_CODE% is 200, and downstream_rq_2xx counts it.
# Consequence: count and alert on denials by their reason, never by the HTTP status.
. "$(dirname -- "$0")/lib.sh"

filters='
- name: rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules: {action: DENY, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}'
fields='
access_log:
- name: file
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: WORK/access.log
    log_format:
      text_format_source: {inline_string: "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n"}'
start_proxy "$filters" "$fields" </dev/null
ask() {
    curl --silent --http1.1 --output /dev/null --write-out '%{http_code}' \
        --header "content-type: $1" "http://$host:8000/"
}
logged() { [ "$(wc -l <"$work/access.log")" = 2 ]; }
saw 'application/json' "$(ask application/json)" 403
saw 'application/grpc' "$(ask application/grpc)" 200
until_true logged
saw 'log of the first' "$(sed -n 1p "$work/access.log")" 'HTTP/1.1 403 rbac_access_denied_matched_policy[all]'
saw 'log of the second' "$(sed -n 2p "$work/access.log")" 'HTTP/1.1 200 rbac_access_denied_matched_policy[all]'
saw 'downstream_rq_2xx' "$(count http.http.downstream_rq_2xx)" 1
conclude
