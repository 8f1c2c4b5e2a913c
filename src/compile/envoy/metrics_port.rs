//! A proxy's port for probes and metrics: says whether the data listener is there, and passes the admin endpoint's
//! figures on. Nothing else of the admin endpoint can be reached here.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::health_check::{HealthChecker, TcpHealthCheck};
use envoy_types::pb::envoy::config::core::v3::HealthCheck;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch,
    VirtualHost, route, route_action, route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};

use super::bootstrap::pipe;
use super::cluster::assignment;
use super::listener::{serving, socket};
use super::wire::{HealthCheckFilter, Percent, any, seconds};
use crate::compile::ProxyPorts;

/// The admin endpoint.
pub(super) const ADMIN: &str = "vaultwall-admin";
/// The proxy's own data listener, which is only knocked at.
const DATA: &str = "vaultwall-data";

/// A proxy's port for probes and metrics.
///
/// Envoy opens it once all listeners of its first configuration are there, and `GET /ready` answers 200 while a connection to
/// the data port is accepted. Envoy's own `/ready` would also be content with a configuration that it refused. `GET /live`
/// answers 200 whatever there is to listen to, for who would start Envoy again when it hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsPort {
    /// Where it listens.
    pub listen: SocketAddrV4,
    /// Where the data listener can be reached from here.
    pub data: SocketAddrV4,
    /// Where it is told that it will be stopped.
    pub leaving: SocketAddrV4,
}

impl MetricsPort {
    /// Those of a proxy that runs in a pod of its own.
    pub fn in_cluster(ports: ProxyPorts) -> Self {
        Self {
            listen: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ports.metrics),
            data: SocketAddrV4::new(Ipv4Addr::LOCALHOST, ports.data),
            leaving: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ports.leaving),
        }
    }

    /// The same on one address alone.
    #[must_use]
    pub fn on(mut self, address: Ipv4Addr) -> Self {
        for port in [&mut self.listen, &mut self.data, &mut self.leaving] {
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
        let knock = HealthCheck {
            timeout: Some(seconds(1)),
            interval: Some(seconds(1)),
            // No request ever goes there, and the interval for that is a minute.
            no_traffic_interval: Some(seconds(1)),
            healthy_threshold: Some(UInt32Value { value: 1 }),
            unhealthy_threshold: Some(UInt32Value { value: 2 }),
            health_checker: Some(HealthChecker::TcpHealthCheck(TcpHealthCheck::default())),
            ..HealthCheck::default()
        };
        let data = Cluster {
            health_checks: vec![knock],
            ..local(DATA, socket(&self.data.ip().to_string(), self.data.port()))
        };
        vec![local(ADMIN, pipe(admin_socket)), data]
    }

    pub(super) fn listener(self) -> Listener {
        let manager = HttpConnectionManager {
            stat_prefix: "metrics".into(),
            request_headers_timeout: Some(seconds(10)),
            http_filters: vec![ready(), router()],
            route_specifier: Some(RouteSpecifier::RouteConfig(routes())),
            ..HttpConnectionManager::default()
        };
        Listener {
            // Probes and scrapes are no requests to the vault: a limit on those must not make the proxy look dead.
            ignore_global_conn_limit: true,
            ..serving("metrics", self.listen, &manager)
        }
    }
}

fn ready() -> HttpFilter {
    let filter = HealthCheckFilter {
        pass_through_mode: Some(BoolValue { value: false }),
        cluster_min_healthy_percentages: BTreeMap::from([(
            DATA.to_owned(),
            Percent { value: 100.0 },
        )]),
        headers: vec![exactly(":path", "/ready"), exactly(":method", "GET")],
    };
    HttpFilter {
        name: "envoy.filters.http.health_check".into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(&filter))),
        ..HttpFilter::default()
    }
}

pub(super) fn router() -> HttpFilter {
    HttpFilter {
        name: "envoy.filters.http.router".into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(
            any(&Router::default()),
        )),
        ..HttpFilter::default()
    }
}

fn routes() -> RouteConfiguration {
    let figures = Route {
        r#match: Some(get("/stats/prometheus")),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(ADMIN.into())),
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
    let live = direct(get("/live"), 200);
    let rest = direct(
        RouteMatch {
            path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())),
            ..RouteMatch::default()
        },
        404,
    );
    RouteConfiguration {
        name: "metrics".into(),
        virtual_hosts: vec![VirtualHost {
            name: "metrics".into(),
            domains: vec!["*".into()],
            routes: vec![figures, live, rest],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

pub(super) fn get(path: &str) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Path(path.into())),
        headers: vec![exactly(":method", "GET")],
        ..RouteMatch::default()
    }
}

pub(super) fn exactly(name: &str, value: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(value.into())),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    }
}
