//! Where allowed requests go: the vault.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use envoy_types::pb::envoy::config::core::v3::Address;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::google::protobuf::Duration;

use super::listener::{aggregated, socket};
use super::{CLUSTER, Proxy};

/// The vault's cluster. A name is looked up for IPv4 addresses only.
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
    let is_address = upstream.host.parse::<Ipv4Addr>().is_ok();
    let discovery = if is_address {
        DiscoveryType::Static
    } else {
        DiscoveryType::StrictDns
    };
    Cluster {
        dns_lookup_family: DnsLookupFamily::V4Only.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        load_assignment: Some(assignment(
            CLUSTER,
            vec![socket(&upstream.host, upstream.port)],
        )),
        ..base(proxy)
    }
}

/// The vault's addresses, for a cluster that discovers them. None: allowed requests get 503 until there is one.
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
        connect_timeout: Some(Duration {
            seconds: 5,
            nanos: 0,
        }),
        ..Cluster::default()
    }
}

/// A cluster's endpoints.
pub(super) fn assignment(cluster: &str, addresses: Vec<Address>) -> ClusterLoadAssignment {
    let endpoint = |address| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    ClusterLoadAssignment {
        cluster_name: cluster.into(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: addresses.into_iter().map(endpoint).collect(),
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    }
}
