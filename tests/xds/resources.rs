//! A small but whole Envoy configuration: a cluster, a listener with one ECDS filter, a route that answers itself.

use std::net::SocketAddrV4;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy,
};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, DataSource, ExtensionConfigSource,
    SocketAddress, TypedExtensionConfig,
};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac, permission, principal,
};
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteConfiguration, RouteMatch, VirtualHost, route, route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as RbacFilter;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier, http_filter,
};
use envoy_types::pb::envoy::r#type::matcher::v3::path_matcher::Rule;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, RegexMatcher, StringMatcher};
use envoy_types::pb::google::protobuf::{Any, Duration};
use prost::{Message, Name};
use vaultwall::compile::envoy::ATTEMPT;
use vaultwall::xds::Resource;

fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        // How long a listener waits for a route or filter that does not come; 15 s if not given.
        initial_fetch_timeout: Some(Duration {
            seconds: 0,
            nanos: 200_000_000,
        }),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}

/// An RBAC filter that allows this path, or with `None` nothing.
fn rbac(path: Option<&str>) -> RbacFilter {
    let policy = path.map(|path| {
        let pattern = MatchPattern::Exact(path.to_owned());
        let matcher = StringMatcher {
            match_pattern: Some(pattern),
            ..StringMatcher::default()
        };
        let rule = permission::Rule::UrlPath(PathMatcher {
            rule: Some(Rule::Path(matcher)),
        });
        let anyone = Principal {
            identifier: Some(principal::Identifier::Any(true)),
        };
        let policy = Policy {
            permissions: vec![Permission { rule: Some(rule) }],
            principals: vec![anyone],
            ..Policy::default()
        };
        (format!("open {ATTEMPT}"), policy)
    });
    RbacFilter {
        rules: Some(Rbac {
            policies: policy.into_iter().collect(),
            ..Rbac::default()
        }),
        ..RbacFilter::default()
    }
}

fn rules(filter: &RbacFilter) -> Resource {
    Resource::new(&TypedExtensionConfig {
        name: "rules".to_owned(),
        typed_config: Some(any(filter)),
    })
    .with_attempt(ATTEMPT)
}

/// ECDS `rules`: this path is allowed and no other.
pub(crate) fn allowing(path: &str) -> Resource {
    rules(&rbac(Some(path)))
}

/// ECDS `rules` with a policy that has no permissions, which Envoy's own validation refuses.
pub(crate) fn bad_rules() -> Resource {
    let mut filter = rbac(Some("/a"));
    for policy in filter.rules.as_mut().unwrap().policies.values_mut() {
        policy.permissions.clear();
    }
    rules(&filter)
}

/// ECDS `rules` that Envoy's validation of messages accepts, and the filter itself refuses: a range of an IP matcher is
/// no address.
pub(crate) fn bad_ranges() -> Resource {
    use envoy_types::pb::envoy::config::core::v3::CidrRange;
    let address = principal::Identifier::DirectRemoteIp(CidrRange {
        address_prefix: "nowhere".to_owned(),
        prefix_len: None,
    });
    let mut filter = rbac(Some("/a"));
    for policy in filter.rules.as_mut().unwrap().policies.values_mut() {
        policy.principals = vec![Principal {
            identifier: Some(address.clone()),
        }];
    }
    rules(&filter)
}

/// RDS `routes`: every path is answered with 200.
pub(crate) fn routes() -> Resource {
    routes_of(route_match::PathSpecifier::Prefix("/".to_owned()))
}

/// RDS `routes` with a regular expression that does not compile.
pub(crate) fn bad_routes() -> Resource {
    routes_of(route_match::PathSpecifier::SafeRegex(RegexMatcher {
        regex: "(".to_owned(),
        ..RegexMatcher::default()
    }))
}

fn routes_of(path: route_match::PathSpecifier) -> Resource {
    let hello = DataSource {
        specifier: Some(Specifier::InlineString("hello".to_owned())),
        ..DataSource::default()
    };
    let answer = DirectResponseAction {
        status: 200,
        body: Some(hello),
        ..DirectResponseAction::default()
    };
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(path),
            ..RouteMatch::default()
        }),
        action: Some(route::Action::DirectResponse(answer)),
        ..Route::default()
    };
    let host = VirtualHost {
        name: "vault".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route],
        ..VirtualHost::default()
    };
    let name = "routes".to_owned();
    Resource::new(&RouteConfiguration {
        name,
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    })
}

/// CDS `vault` that needs a policy for load balancing and has none.
pub(crate) fn bad_cluster() -> Resource {
    Resource::new(&Cluster {
        name: "vault".to_owned(),
        lb_policy: LbPolicy::LoadBalancingPolicyConfig.into(),
        ..Cluster::default()
    })
}

/// CDS `vault`: nothing is sent there; it is a resource of one more type.
pub(crate) fn cluster() -> Resource {
    Resource::new(&Cluster {
        name: "vault".to_owned(),
        ..Cluster::default()
    })
}

/// CDS `vault` with this timeout in seconds, and its EDS, for which Envoy waits without a timeout.
pub(crate) fn discovering_cluster(connect_timeout: i64) -> [Resource; 2] {
    let name = "vault".to_owned();
    let without_timeout = ConfigSource {
        initial_fetch_timeout: Some(Duration::default()),
        ..ads()
    };
    let cluster = Cluster {
        name: name.clone(),
        connect_timeout: Some(Duration {
            seconds: connect_timeout,
            nanos: 0,
        }),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(without_timeout),
            service_name: String::new(),
        }),
        ..Cluster::default()
    };
    let endpoints = ClusterLoadAssignment {
        cluster_name: name,
        ..ClusterLoadAssignment::default()
    };
    [Resource::new(&cluster), Resource::new(&endpoints)]
}

/// LDS `data`: asks for `routes` and `rules`, and denies everything until `rules` are there.
pub(crate) fn listener(address: SocketAddrV4) -> Resource {
    listener_with(address, &["router"])
}

/// LDS `data` with two filters of which each must be the last.
pub(crate) fn bad_listener(address: SocketAddrV4) -> Resource {
    listener_with(address, &["router", "router"])
}

fn listener_with(address: SocketAddrV4, last: &[&str]) -> Resource {
    let discovery = ExtensionConfigSource {
        config_source: Some(ads()),
        default_config: Some(any(&rbac(None))),
        type_urls: vec![RbacFilter::type_url()],
        ..ExtensionConfigSource::default()
    };
    let http_filter = |name: &str, config| HttpFilter {
        name: name.to_owned(),
        config_type: Some(config),
        ..HttpFilter::default()
    };
    let router = http_filter::ConfigType::TypedConfig(any(&Router::default()));
    let last = last.iter().map(|name| http_filter(name, router.clone()));
    let rules = http_filter("rules", http_filter::ConfigType::ConfigDiscovery(discovery));
    let manager = HttpConnectionManager {
        stat_prefix: "data".to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: "routes".to_owned(),
        })),
        http_filters: [rules].into_iter().chain(last).collect(),
        ..HttpConnectionManager::default()
    };
    let address = SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
        ..SocketAddress::default()
    };
    let http = Filter {
        name: "http".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(any(&manager))),
    };
    Resource::new(&Listener {
        name: "data".to_owned(),
        address: Some(Address {
            address: Some(AddressKind::SocketAddress(address)),
        }),
        filter_chains: vec![FilterChain {
            filters: vec![http],
            ..FilterChain::default()
        }],
        ..Listener::default()
    })
}
