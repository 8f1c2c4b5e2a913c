#!/usr/bin/env bash
# Kubernetes: a CEL rule below a value without a type is accepted with the CRD, and never evaluated.
# Expected: the CRD is refused, as it is for a rule that names such a value, or the rule is evaluated.
# Seen with Kubernetes 1.36.3 on 2026-11-30:
# the CRD is created, without a warning, and objects that break the rule are created.
# Consequence: a list whose items may be a text or an object (x-kubernetes-preserve-unknown-fields without a type) needs
# an admission policy, also for the parts of the items that have a type.
. "$(dirname -- "$0")/lib.sh"

# define KIND ITEM_TYPE: creates a CRD with a list, in whose items the same rule applies to the same field.
define() {
    local plural=${1,,}s
    write POST json /apis/apiextensions.k8s.io/v1/customresourcedefinitions "{
        \"apiVersion\": \"apiextensions.k8s.io/v1\", \"kind\": \"CustomResourceDefinition\",
        \"metadata\": {\"name\": \"$plural.example.dev\"}, \"spec\": {\"group\": \"example.dev\",
        \"scope\": \"Namespaced\", \"names\": {\"plural\": \"$plural\", \"kind\": \"$1\"}, \"versions\": [{
        \"name\": \"v1\", \"served\": true, \"storage\": true, \"schema\": {\"openAPIV3Schema\": {
        \"type\": \"object\", \"properties\": {\"spec\": {\"type\": \"object\", \"properties\": {
        \"parts\": {\"type\": \"array\", \"maxItems\": 9, \"items\": {$2, \"properties\": {\"size\": {
        \"type\": \"integer\", \"x-kubernetes-validations\": [{\"rule\": \"self < 10\"}]}}}}}}}}}}]}}"
    until_true api --fail "$server/apis/example.dev/v1/namespaces/default/$plural"
}

# create KIND SIZE: creates an object with one part of that size.
create() {
    write POST json "/apis/example.dev/v1/namespaces/default/${1,,}s" "{\"apiVersion\": \"example.dev/v1\",
        \"kind\": \"$1\", \"metadata\": {\"generateName\": \"a-\"}, \"spec\": {\"parts\": [{\"size\": $2}]}}"
}

start_api_server
saw 'CRD with typed items' "$(define Typed '"type": "object"')" 201
saw 'CRD with items without a type' "$(define Mixed '"x-kubernetes-preserve-unknown-fields": true')" 201
saw 'typed item that obeys the rule' "$(create Typed 1)" 201
saw 'typed item that breaks the rule' "$(create Typed 99)" 422
saw 'item without a type that breaks the rule' "$(create Mixed 99)" 201
conclude
