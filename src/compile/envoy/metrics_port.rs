//! A proxy's port for metrics: forwards the admin endpoint's metrics, and nothing else of it. Every pod can reach it,
//! so nothing that the kubelet needs is here.

use std::net::{Ipv4Addr, SocketAddrV4};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::HealthCheck;
use envoy_types::pb::envoy::config::core::v3::health_check::{HealthChecker, TcpHealthCheck};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, route, route_action, route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::addresses::{assignment, pipe, socket};
use super::http;
use super::names::{ADMIN_CLUSTER, DATA_CLUSTER};
use super::wire::seconds;
use crate::compile::ports::ProxyPorts;

/// Name of the listener, its routes and its statistics.
const NAME: &str = "metrics";
/// Largest number of connections, many times those of all scrapers of a cluster.
const CONNECTIONS: u32 = 128;

/// A proxy's ports for the cluster: metrics for anyone, probes and the drain for the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsPort {
    /// Address of the metrics.
    pub listen: SocketAddrV4,
    /// Address at which the proxy reaches its own data listener.
    pub data: SocketAddrV4,
    /// Address of the kubelet's port.
    pub kubelet: SocketAddrV4,
}

impl MetricsPort {
    /// The ports of a proxy that runs in a pod of its own.
    pub fn in_cluster(ports: ProxyPorts) -> Self {
        Self {
            listen: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ports.metrics),
            data: SocketAddrV4::new(Ipv4Addr::LOCALHOST, ports.data),
            kubelet: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ports.kubelet),
        }
    }

    /// The same ports on this one address, for several proxies on one machine.
    #[must_use]
    pub fn on(mut self, address: Ipv4Addr) -> Self {
        for port in [&mut self.listen, &mut self.data, &mut self.kubelet] {
            port.set_ip(address);
        }
        self
    }

    pub(super) fn clusters(self, admin_socket: &str) -> Vec<Cluster> {
        let local = |name: &str, address| Cluster {
            name: name.into(),
            connect_timeout: Some(seconds(1)),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
            load_assignment: Some(assignment(name, vec![address])),
            ..Cluster::default()
        };
        let connects = HealthCheck {
            timeout: Some(seconds(1)),
            interval: Some(seconds(1)),
            // The cluster gets no requests, and Envoy's interval for such a cluster is a minute.
            no_traffic_interval: Some(seconds(1)),
            healthy_threshold: Some(UInt32Value { value: 1 }),
            unhealthy_threshold: Some(UInt32Value { value: 2 }),
            health_checker: Some(HealthChecker::TcpHealthCheck(TcpHealthCheck::default())),
            ..HealthCheck::default()
        };
        let data = Cluster {
            health_checks: vec![connects],
            ..local(
                DATA_CLUSTER,
                socket(&self.data.ip().to_string(), self.data.port()),
            )
        };
        vec![local(ADMIN_CLUSTER, pipe(admin_socket)), data]
    }

    pub(super) fn listener(self) -> Listener {
        let manager = HttpConnectionManager {
            stat_prefix: NAME.into(),
            http_filters: vec![http::router(&Router::default())],
            route_specifier: Some(RouteSpecifier::RouteConfig(routes())),
            ..http::small_requests()
        };
        let chain = http::limited(NAME, CONNECTIONS, http::chain(&manager));
        http::exempt(http::listener(NAME, self.listen, vec![chain]))
    }
}

fn routes() -> RouteConfiguration {
    let metrics = Route {
        r#match: Some(http::get("/stats/prometheus")),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(
                ADMIN_CLUSTER.into(),
            )),
            ..RouteAction::default()
        })),
        ..Route::default()
    };
    let rest = http::direct(
        RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
            ..RouteMatch::default()
        },
        404,
    );
    http::routes(NAME, vec![metrics, rest])
}
