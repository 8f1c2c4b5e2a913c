#!/usr/bin/env bash
# Kubernetes: a patch of a custom resource's /status ignores metadata.uid.
# Expected: as for the object itself, a patch with the uid of a deleted object of the same name is refused.
# Seen with Kubernetes 1.36.3 on 2026-11-30:
# merge patch and server-side apply of /status succeed and write to the new object. Only PUT refuses it.
# Consequence: a controller that writes status late must send the resourceVersion, or use PUT.
. "$(dirname -- "$0")/lib.sh"

start_api_server
define_things
old=$(api "$server$things/a" | field metadata.uid)
api --output /dev/null --request DELETE "$server$things/a"
new=$(create_thing)
[ "$old" != "$new" ]
thing='"apiVersion": "example.dev/v1", "kind": "Thing"'
query='fieldManager=finding&force=true'
version=$(api "$server$things/a" | field metadata.resourceVersion)
saw 'merge patch of the object' "$(write PATCH merge-patch+json "$things/a" \
    "{\"metadata\": {\"uid\": \"$old\"}, \"spec\": {\"size\": \"large\"}}")" 422
saw 'PUT of the status' "$(write PUT json "$things/a/status" \
    "{$thing, \"metadata\": {\"name\": \"a\", \"uid\": \"$old\", \"resourceVersion\": \"$version\"},
    \"status\": {\"message\": \"put\"}}")" 409
saw 'merge patch of the status' "$(write PATCH merge-patch+json "$things/a/status" \
    "{\"metadata\": {\"uid\": \"$old\"}, \"status\": {\"message\": \"merged\"}}")" 200
saw 'message of the new object' "$(api "$server$things/a" | field status.message)" merged
saw 'apply of the status' "$(write PATCH apply-patch+yaml "$things/a/status?$query" \
    "{$thing, \"metadata\": {\"name\": \"a\", \"uid\": \"$old\"}, \"status\": {\"message\": \"applied\"}}")" 200
saw 'message of the new object' "$(api "$server$things/a" | field status.message)" applied
conclude
