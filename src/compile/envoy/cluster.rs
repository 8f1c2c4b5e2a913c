//! The vault's clusters: the upstream of allowed requests, once for each budget.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddrV4;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, HttpProtocolOptions as CommonOptions,
};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::addresses::{assignment, discovery, socket};
use super::budget::{BUFFER_BYTES, Budget};
use super::config_source::aggregated;
use super::proxy::Proxy;
use super::wire::{any, milliseconds, seconds};

/// Timeout of an idle connection to the vault, in milliseconds. The vault closes one after its `http_idle_timeout`
/// (300 s by default, but its owner may choose less), and a request that is sent at that moment fails. Requests that
/// only read are sent again; others cannot be, so this is shorter than what an owner would choose.
const IDLE_MILLISECONDS: i32 = 500;

/// The vault's clusters. DNS names are resolved to IPv4 addresses only.
pub(super) fn clusters(proxy: &Proxy) -> Vec<Cluster> {
    Budget::ALL.map(|budget| cluster(proxy, budget)).into()
}

fn cluster(proxy: &Proxy, budget: Budget) -> Cluster {
    let common = Cluster {
        name: budget.cluster().into(),
        transport_socket: proxy.tls.of_cluster(),
        connect_timeout: Some(seconds(5)),
        circuit_breakers: Some(budget.circuit_breakers()),
        per_connection_buffer_limit_bytes: Some(UInt32Value {
            value: BUFFER_BYTES,
        }),
        typed_extension_protocol_options: HashMap::from([(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned(),
            any(&http1()),
        )]),
        ..Cluster::default()
    };
    let Some(upstream) = &proxy.upstream else {
        return Cluster {
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: Some(aggregated()),
                service_name: String::new(),
            }),
            ..common
        };
    };
    Cluster {
        dns_lookup_family: DnsLookupFamily::V4Only.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery(&upstream.host).into())),
        load_assignment: Some(assignment(
            budget.cluster(),
            vec![socket(&upstream.host, upstream.port)],
        )),
        ..common
    }
}

fn http1() -> HttpProtocolOptions {
    HttpProtocolOptions {
        common_http_protocol_options: Some(CommonOptions {
            idle_timeout: Some(milliseconds(IDLE_MILLISECONDS)),
            ..CommonOptions::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::HttpProtocolOptions(
                    Http1ProtocolOptions::default(),
                )),
            },
        )),
        ..HttpProtocolOptions::default()
    }
}

/// The vault's addresses, for clusters that discover them. Without any, allowed requests get 503.
pub fn endpoints(addresses: &BTreeSet<SocketAddrV4>) -> Vec<ClusterLoadAssignment> {
    let sockets = addresses
        .iter()
        .map(|address| socket(&address.ip().to_string(), address.port()));
    let sockets: Vec<_> = sockets.collect();
    Budget::ALL
        .map(|budget| assignment(budget.cluster(), sockets.clone()))
        .into()
}
