#!/usr/bin/env bash
# Kubernetes: server-side apply of a custom resource with a field that its CRD does not have is answered 500.
# Expected: 400 or 422 as for other invalid input, or the field is dropped with a warning as by other verbs.
# Seen with Kubernetes 1.36.3 on 2026-11-30:
# 500, nothing is written. A merge patch with the same field is 200 and drops it.
# Consequence: an operator that is newer than its CRDs gets 500 for every status; do not treat it as a temporary error
# of the server, and upgrade CRDs first.
. "$(dirname -- "$0")/lib.sh"

start_api_server
define_things
status='"status": {"message": "now", "addedLater": "x"}'
saw 'apply' "$(write PATCH apply-patch+yaml "$things/a/status?fieldManager=finding" \
    "{\"apiVersion\": \"example.dev/v1\", \"kind\": \"Thing\", \"metadata\": {\"name\": \"a\"}, $status}")" 500
saw 'its message' "$(field message <"$work/answer.json" | sed 's/.*: //')" 'field not declared in schema'
saw 'message of the object' "$(api "$server$things/a" | field status.message 2>/dev/null || echo none)" None
saw 'merge patch' "$(write PATCH merge-patch+json "$things/a/status" "{$status}")" 200
saw 'status of the object' "$(api "$server$things/a" | field status)" "{'message': 'now'}"
conclude
