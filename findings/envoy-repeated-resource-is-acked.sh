#!/usr/bin/env bash
# Envoy, delta xDS: an extension resource (ECDS) that Envoy rejected is acknowledged when it is sent again unchanged.
# Expected: the same resource is rejected again. An ACK means that the resource is in force.
# Seen with Envoy 1.40.0 on 2026-11-30:
# the second time it is ACKed, and the previous resource stays in force.
# Consequence: a server must not count the ACK of a resource that was NACKed before, unless its bytes have changed.
. "$(dirname -- "$0")/lib.sh"

python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --only-binary=:all: \
    --target "$work/xds" xds-protos==1.85.0 grpcio==1.85.3 protobuf==7.36.2
cat >"$work/server.py" <<'END'
"""Sends a valid filter, one that Envoy rejects twice, and another valid one. Writes one line for each answer."""
import sys
import time
import urllib.request
from concurrent import futures

import grpc
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

host = sys.argv[1]
TYPE = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
# version | value of the response header that the filter adds
STEPS = [("1", "first"), ("2", "%NO_SUCH_COMMAND%"), ("2", "%NO_SUCH_COMMAND%"), ("3", "third")]


def resource(version, value):
    mutation = header_mutation_pb2.HeaderMutation()
    header = mutation.mutations.response_mutations.add().append.header
    header.key, header.value = "x-filter", value
    extension = extension_pb2.TypedExtensionConfig(name="filter")
    extension.typed_config.Pack(mutation)
    resource = discovery_pb2.Resource(name="filter", version=version)
    resource.resource.Pack(extension)
    return resource


def in_force():
    time.sleep(0.5)
    return urllib.request.urlopen(f"http://{host}:8000/").headers["x-filter"]


class Server(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    def DeltaAggregatedResources(self, requests, context):
        sent = 0
        for request in requests:
            if request.response_nonce:
                answer = "NACK" if request.HasField("error_detail") else "ACK"
                print(f"version {STEPS[sent - 1][0]}: {answer}, {in_force()} in force", flush=True)
            if sent < len(STEPS):
                resources = [resource(*STEPS[sent])]
                yield discovery_pb2.DeltaDiscoveryResponse(type_url=TYPE, nonce=str(sent), resources=resources)
                sent += 1


server = grpc.server(futures.ThreadPoolExecutor(4))
ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Server(), server)
server.add_insecure_port(f"{host}:18000")
server.start()
server.wait_for_termination()
END
PYTHONPATH=$work/xds run answers.log python3 "$work/server.py" "$host"
filters='
- name: filter
  config_discovery:
    config_source: {ads: {}, resource_api_version: V3}
    type_urls: [type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation]'
start_proxy "$filters" '' xds <<'END'
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}
END
until_true grep 'version 3' "$work/answers.log"
saw 'valid' "$(sed -n 1p "$work/answers.log")" 'version 1: ACK, first in force'
saw 'rejected' "$(sed -n 2p "$work/answers.log")" 'version 2: NACK, first in force'
saw 'sent again' "$(sed -n 3p "$work/answers.log")" 'version 2: ACK, first in force'
saw 'valid' "$(sed -n 4p "$work/answers.log")" 'version 3: ACK, third in force'
conclude
