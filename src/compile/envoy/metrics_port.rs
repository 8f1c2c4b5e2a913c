//! A proxy's port for probes and metrics: reports whether the data listener accepts connections, and forwards the admin
//! endpoint's metrics. Nothing else of the admin endpoint can be reached here.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::HealthCheck;
use envoy_types::pb::envoy::config::core::v3::health_check::{HealthChecker, TcpHealthCheck};
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, route,
    route_action, route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
};
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};

use super::addresses::{assignment, pipe, socket};
use super::http;
use super::names::ADMIN_CLUSTER;
use super::wire::{HealthCheckFilter, Percent, seconds};
use crate::compile::ports::ProxyPorts;

/// Cluster of the proxy's own data listener, used by its health check alone.
const DATA_CLUSTER: &str = "vaultwall-data";
/// Name of the listener, its routes and its statistics.
const NAME: &str = "metrics";

/// A proxy's ports for the cluster: probes and metrics, and the drain.
///
/// Envoy opens the metrics port when it has all listeners of its first configuration. `GET /ready` answers 200 while
/// the data port accepts connections; Envoy's own `/ready` would also answer 200 after it rejected its configuration.
/// `GET /live` answers 200 even without listeners, so that the kubelet restarts only an Envoy that hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsPort {
    /// Address of probes and metrics.
    pub listen: SocketAddrV4,
    /// Address at which the proxy reaches its own data listener.
    pub data: SocketAddrV4,
    /// Address of the drain port.
    pub drain: SocketAddrV4,
}

impl MetricsPort {
    /// The ports of a proxy that runs in a pod of its own.
    pub fn in_cluster(ports: ProxyPorts) -> Self {
        Self {
            listen: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ports.metrics),
            data: SocketAddrV4::new(Ipv4Addr::LOCALHOST, ports.data),
            drain: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ports.drain),
        }
    }

    /// The same ports on this one address, for several proxies on one machine.
    #[must_use]
    pub fn on(mut self, address: Ipv4Addr) -> Self {
        for port in [&mut self.listen, &mut self.data, &mut self.drain] {
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
            request_headers_timeout: Some(seconds(10)),
            http_filters: vec![ready(), http::router(&Router::default())],
            route_specifier: Some(RouteSpecifier::RouteConfig(routes())),
            ..HttpConnectionManager::default()
        };
        Listener {
            // Probes and scrapes are no requests to the vault: a limit on those must not make the proxy look dead.
            ignore_global_conn_limit: true,
            ..http::listener(NAME, self.listen, &manager)
        }
    }
}

fn ready() -> HttpFilter {
    let configuration = HealthCheckFilter {
        pass_through_mode: Some(BoolValue { value: false }),
        cluster_min_healthy_percentages: BTreeMap::from([(
            DATA_CLUSTER.to_owned(),
            Percent { value: 100.0 },
        )]),
        headers: vec![
            http::header_is(":path", "/ready"),
            http::header_is(":method", "GET"),
        ],
    };
    http::filter("envoy.filters.http.health_check", &configuration)
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
    let direct = |r#match: RouteMatch, status| Route {
        r#match: Some(r#match),
        action: Some(route::Action::DirectResponse(DirectResponseAction {
            status,
            ..DirectResponseAction::default()
        })),
        ..Route::default()
    };
    let live = direct(http::get("/live"), 200);
    let rest = direct(
        RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
            ..RouteMatch::default()
        },
        404,
    );
    RouteConfiguration {
        name: NAME.into(),
        virtual_hosts: vec![VirtualHost {
            name: NAME.into(),
            domains: vec!["*".into()],
            routes: vec![metrics, live, rest],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}
