#!/usr/bin/env bash
# Envoy: a shadow matcher of RBAC that matches nothing has the result `denied`.
# Expected: no match leaves no result, so that `denied` means that a rule denies.
# Seen with Envoy 1.40.0 on 2026-11-30:
# the result is `denied` for a request that no rule matches, and only the id of the policy is missing.
# Consequence: read the id to learn whether a rule matched, and never the result alone.
. "$(dirname -- "$0")/lib.sh"

fields='
access_log:
- name: file
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: WORK/access.log
    log_format: {text_format_source: {inline_string: "%PATH%
      result %DYNAMIC_METADATA(envoy.filters.http.rbac:found_shadow_engine_result)%, id
      %DYNAMIC_METADATA(envoy.filters.http.rbac:found_shadow_effective_policy_id)%\n"}}'
filters='
- name: found
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    shadow_rules_stat_prefix: found_
    shadow_matcher:
      matcher_list:
        matchers:
        - predicate:
            single_predicate:
              input:
                name: path
                typed_config:
                  "@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput
                  header_name: ":path"
              value_match: {exact: /known}
          on_match:
            action:
              name: action
              typed_config: {"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: rule, action: DENY}'
start_proxy "$filters" "$fields" </dev/null
for path in /known /unknown; do
    curl --silent --output /dev/null "http://$host:8000$path"
    until_true grep "^$path " "$work/access.log"
done
saw 'a rule denies' "$(grep '^/known ' "$work/access.log")" '/known result denied, id rule'
saw 'no rule matches' "$(grep '^/unknown ' "$work/access.log")" '/unknown result denied, id -'
conclude
