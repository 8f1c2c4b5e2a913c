//! Configurations of the Envoys: the firewall as the program compiles it, and the same without its filters.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use envoy_types::pb::envoy::config::listener::v3::{Listener, filter::ConfigType};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch, VirtualHost, route, route_action, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::google::protobuf::Duration;
use prost::Message;
use serde_json::json;
use vaultwall::compile::envoy::{Configuration, Proxy, Tls, Upstream, configuration};
use vaultwall::index::{Index, ObservedPod, PodFact};
use vaultwall::limits::Limits;
use vaultwall::objects::{LoadedObjects, parse_file};
use vaultwall::policy::{Firewall, VaultId};
use vaultwall::publish::Compiler;
use vaultwall::xds::{Resource, Snapshot};

/// Part of the firewall that an Envoy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filters {
    /// Everything, with so many addresses of pods. With none, no client can be allowed by address: there a policy
    /// whose default action is Allow allows every client, so that the request goes through the same filters to the
    /// same vault.
    Hold(usize),
    /// All but the filters that hold the rules and decide: the listener and the routes, which classify requests, are
    /// the same.
    Removed,
    /// Not even those routes, nor what is done with headers and bodies: one route, and the same access log.
    BareProxy,
}

/// The pod with this number. Pods are dense around the addresses that ask, so that a lookup goes as deep as it can.
pub(crate) fn pod_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7f40_0001 + u32::try_from(number).unwrap())
}

impl Filters {
    /// How many addresses are let in.
    pub(crate) fn addresses(self) -> usize {
        match self {
            Self::Hold(addresses) => addresses,
            Self::Removed | Self::BareProxy => 0,
        }
    }

    /// Resources of an Envoy that listens at this address.
    pub(crate) fn snapshot(self, address: Ipv4Addr, vault: SocketAddrV4) -> Snapshot {
        let firewall = firewall(self.addresses());
        let proxy = Proxy {
            data: SocketAddrV4::new(address, 8200),
            management: SocketAddrV4::new(address, 8300),
            upstream: Some(Upstream {
                host: vault.ip().to_string(),
                port: vault.port(),
            }),
            ..Proxy::in_cluster(&firewall, Tls::default(), None)
        };
        let bare = match self {
            Self::Hold(_) => {
                return Compiler::default().snapshot(
                    &firewall,
                    &proxy,
                    Vec::new(),
                    std::time::Duration::ZERO,
                );
            }
            Self::Removed => false,
            Self::BareProxy => true,
        };
        let Configuration {
            clusters,
            mut listeners,
            mut routes,
            extensions: _,
        } = configuration(&firewall, &firewall.table(), &proxy);
        for listener in &mut listeners {
            change_manager(listener, |manager| {
                // Only the rules and the decision are discovered.
                let discovered = |filter: &HttpFilter| {
                    matches!(
                        filter.config_type,
                        Some(http_filter::ConfigType::ConfigDiscovery(_))
                    )
                };
                assert!(manager.http_filters.iter().any(discovered));
                manager.http_filters.retain(|filter| !discovered(filter));
                if bare {
                    let router = manager.http_filters.pop();
                    manager.http_filters = router.into_iter().collect();
                    manager.early_header_mutation_extensions.clear();
                    manager.local_reply_config = None;
                }
            });
        }
        if bare {
            for routes in &mut routes {
                routes.virtual_hosts = vec![one_route(&clusters[0].name)];
            }
        }
        let of_clusters = clusters.iter().map(Resource::new);
        let of_listeners = listeners.iter().map(Resource::new);
        let of_routes = routes.iter().map(Resource::new);
        Snapshot::new(of_clusters.chain(of_listeners).chain(of_routes).collect())
    }
}

fn change_manager(listener: &mut Listener, change: impl FnOnce(&mut HttpConnectionManager)) {
    let Some(ConfigType::TypedConfig(packed)) =
        &mut listener.filter_chains[0].filters[0].config_type
    else {
        panic!("a listener without a connection manager");
    };
    let mut manager = HttpConnectionManager::decode(packed.value.as_slice()).unwrap();
    change(&mut manager);
    packed.value = manager.encode_to_vec();
}

/// Everything goes to the vault, with the compiler's own limit of time, which is none.
fn one_route(cluster: &str) -> VirtualHost {
    let everything = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    };
    let action = RouteAction {
        cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
        timeout: Some(Duration::default()),
        ..RouteAction::default()
    };
    VirtualHost {
        name: "vault".to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![Route {
            r#match: Some(everything),
            action: Some(route::Action::Route(action)),
            ..Route::default()
        }],
        ..VirtualHost::default()
    }
}

/// A vault's firewall that lets in a subnet with so many pods.
fn firewall(addresses: usize) -> Firewall {
    let rules = json!([{"subnet": {"virtualNetwork": "corp", "name": "build"}}]);
    let (action, rules) = match addresses {
        0 => ("Allow", json!([])),
        _ => ("Deny", rules),
    };
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "build", "labels": {"team": "build"}}},
        {
            "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VirtualNetwork", "metadata": {"name": "corp"},
            "spec": {"subnets": [{"name": "build", "serviceEndpoints": ["Vault"], "pods": {
                "namespaceSelector": {"matchLabels": {"team": "build"}},
                "podSelector": {"matchLabels": {"app": "runner"}},
            }}]},
        },
        {
            "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
            "metadata": {"name": "openbao", "namespace": "vault"},
            "spec": {
                "targetRef": {"kind": "Service", "name": "openbao", "port": 8200},
                "vault": {"engines": [{"path": "secret", "type": "KvV2"}, {"path": "transit", "type": "Transit"}]},
                "defaultAction": action,
                "virtualNetworkRules": rules,
            },
        },
    ]});
    let limits = Limits::default();
    let contents = parse_file(Path::new("objects"), &objects.to_string(), &limits).unwrap();
    let loaded = LoadedObjects::of([contents]);
    assert!(loaded.violations.is_empty(), "{:?}", loaded.violations);
    let mut index: Index = loaded.into_index(limits);
    for number in 0..addresses {
        index.apply(ObservedPod::Counted(PodFact {
            namespace: "build".into(),
            name: format!("runner-{number}"),
            labels: [("app".to_owned(), "runner".to_owned())].into(),
            uid: None,
            service_account: "default".into(),
            addresses: vec![pod_address(number)],
        }));
    }
    let vault = VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    };
    let firewall = index.resolve(&vault).unwrap().resolution.firewall;
    assert_eq!(firewall.virtual_networks.len(), addresses);
    firewall
}
