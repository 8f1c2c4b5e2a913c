//! Health and metrics of a proxy in a pod: two pages of Envoy's own admin interface, and no other of them. The rest could
//! stop the proxy or show its configuration, so the interface itself stays on a socket inside the pod.

use std::net::Ipv4Addr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::Address;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
    header_matcher::HeaderMatchSpecifier, route, route_action::ClusterSpecifier,
    route_match::PathSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::Duration;

use super::listener::socket;
use super::wire::any;

/// Name of the listener, and of its routes.
const NAME: &str = "metrics";
/// Name of the cluster that is Envoy itself.
const ADMIN_CLUSTER: &str = "vaultwall-admin";
/// Pages that are shown, to GET.
const PAGES: [&str; 2] = ["/ready", "/stats/prometheus"];

/// Serves the pages on a port of every address.
pub(super) fn listener(port: u16) -> Listener {
    let manager = HttpConnectionManager {
        stat_prefix: NAME.into(),
        request_headers_timeout: Some(Duration {
            seconds: 10,
            nanos: 0,
        }),
        route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration {
            name: NAME.into(),
            virtual_hosts: vec![VirtualHost {
                name: NAME.into(),
                domains: vec!["*".into()],
                routes: PAGES.map(page).into(),
                ..VirtualHost::default()
            }],
            ..RouteConfiguration::default()
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(http_filter::ConfigType::TypedConfig(
                any(&Router::default()),
            )),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    };
    Listener {
        name: NAME.into(),
        address: Some(socket(&Ipv4Addr::UNSPECIFIED.to_string(), port)),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "http".into(),
                config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
            }],
            ..FilterChain::default()
        }],
        ..Listener::default()
    }
}

fn page(path: &str) -> Route {
    let get = StringMatcher {
        match_pattern: Some(MatchPattern::Exact("GET".into())),
        ..StringMatcher::default()
    };
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Path(path.into())),
            headers: vec![HeaderMatcher {
                name: ":method".into(),
                header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(get)),
                ..HeaderMatcher::default()
            }],
            ..RouteMatch::default()
        }),
        action: Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(ADMIN_CLUSTER.into())),
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

/// Envoy's own admin interface, where the pages come from.
pub(super) fn cluster(admin: Address) -> Cluster {
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(admin),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    Cluster {
        name: ADMIN_CLUSTER.into(),
        connect_timeout: Some(Duration {
            seconds: 1,
            nanos: 0,
        }),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: ADMIN_CLUSTER.into(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![endpoint],
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        ..Cluster::default()
    }
}
