//! The vault's cluster: the upstream of allowed requests.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use super::addresses::{assignment, discovery, socket};
use super::config_source::aggregated;
use super::names::CLUSTER;
use super::proxy::Proxy;
use super::wire::seconds;

/// The vault's cluster. DNS names are resolved to IPv4 addresses only.
pub(super) fn cluster(proxy: &Proxy) -> Cluster {
    let Some(upstream) = &proxy.upstream else {
        return Cluster {
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            eds_cluster_config: Some(EdsClusterConfig {
                eds_config: Some(aggregated()),
                service_name: String::new(),
            }),
            ..base(proxy)
        };
    };
    Cluster {
        dns_lookup_family: DnsLookupFamily::V4Only.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery(&upstream.host).into())),
        load_assignment: Some(assignment(
            CLUSTER,
            vec![socket(&upstream.host, upstream.port)],
        )),
        ..base(proxy)
    }
}

/// The vault's addresses, for a cluster that discovers them. Without any, allowed requests get 503.
pub fn endpoints(addresses: &BTreeSet<SocketAddrV4>) -> ClusterLoadAssignment {
    let sockets = addresses
        .iter()
        .map(|address| socket(&address.ip().to_string(), address.port()));
    assignment(CLUSTER, sockets.collect())
}

fn base(proxy: &Proxy) -> Cluster {
    Cluster {
        name: CLUSTER.into(),
        transport_socket: proxy.tls.of_cluster(),
        connect_timeout: Some(seconds(5)),
        ..Cluster::default()
    }
}
