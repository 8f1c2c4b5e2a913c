//! Addresses in Envoy's messages.

use std::net::Ipv4Addr;

use envoy_types::pb::envoy::config::cluster::v3::cluster::DiscoveryType;
use envoy_types::pb::envoy::config::core::v3::{
    Address, Pipe, SocketAddress, address, socket_address,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};

/// A TCP address. `host` is an IPv4 address, or a DNS name where Envoy resolves it.
pub(super) fn socket(host: &str, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: host.into(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })),
    }
}

/// A Unix socket, open to Envoy's own user alone.
pub(super) fn pipe(path: &str) -> Address {
    Address {
        address: Some(address::Address::Pipe(Pipe {
            path: path.into(),
            mode: 0o600,
        })),
    }
}

/// How Envoy finds a host: only one that is no IPv4 address is resolved by DNS.
pub(super) fn discovery(host: &str) -> DiscoveryType {
    if host.parse::<Ipv4Addr>().is_ok() {
        DiscoveryType::Static
    } else {
        DiscoveryType::StrictDns
    }
}

/// The endpoints of a cluster.
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
