//! Where allowed requests go: the vault.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily,
};
use envoy_types::pb::envoy::config::core::v3::Address;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::google::protobuf::Duration;

use super::listener::socket;
use super::{CLUSTER, Upstream};

/// The vault's cluster. A name is looked up for IPv4 addresses only.
pub(super) fn cluster(upstream: &Upstream) -> Cluster {
    let is_address = upstream.host.parse::<std::net::Ipv4Addr>().is_ok();
    let discovery = if is_address {
        DiscoveryType::Static
    } else {
        DiscoveryType::StrictDns
    };
    Cluster {
        name: CLUSTER.into(),
        connect_timeout: Some(Duration {
            seconds: 5,
            nanos: 0,
        }),
        dns_lookup_family: DnsLookupFamily::V4Only.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        load_assignment: Some(endpoints(CLUSTER, socket(&upstream.host, upstream.port))),
        ..Cluster::default()
    }
}

/// A cluster's one endpoint.
pub(super) fn endpoints(cluster: &str, address: Address) -> ClusterLoadAssignment {
    let endpoint = Endpoint {
        address: Some(address),
        ..Endpoint::default()
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}
