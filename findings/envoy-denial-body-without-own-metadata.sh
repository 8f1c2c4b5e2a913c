#!/usr/bin/env bash
# Envoy: the body of a denial cannot contain the dynamic metadata of the filter that denies.
# Expected: local_reply_config and the access log format see the same metadata.
# Seen with Envoy 1.40.0 on 2026-11-30:
# in the body the denying RBAC filter's metadata is empty, while an earlier filter's is there. The log has both.
# Consequence: take the rule from %RESPONSE_CODE_DETAILS%, or determine it in an earlier filter.
. "$(dirname -- "$0")/lib.sh"

format='"earlier
  %DYNAMIC_METADATA(envoy.filters.http.rbac:earlier_shadow_effective_policy_id)%, own
  %DYNAMIC_METADATA(envoy.filters.http.rbac:own_shadow_effective_policy_id)%, details
  %RESPONSE_CODE_DETAILS%\n"'
fields="
local_reply_config: {body_format: {text_format_source: {inline_string: $format}}}
access_log:
- name: file
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: WORK/access.log
    log_format: {text_format_source: {inline_string: $format}}"
filters='
- name: earlier
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    shadow_rules_stat_prefix: earlier_
    shadow_rules: &deny
      action: DENY
      policies: {rule: {permissions: [{any: true}], principals: [{any: true}]}}
- name: own
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    shadow_rules_stat_prefix: own_
    shadow_rules: *deny
    rules: *deny'
start_proxy "$filters" "$fields" </dev/null
details='details rbac_access_denied_matched_policy[rule]'
saw body "$(curl --silent "http://$host:8000/")" "earlier rule, own -, $details"
until_true grep details "$work/access.log"
saw log "$(head -n 1 "$work/access.log")" "earlier rule, own rule, $details"
conclude
