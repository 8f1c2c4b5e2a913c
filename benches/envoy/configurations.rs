//! Configurations of the Envoys: the firewall as the program compiles it, and the same without its filters.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use envoy_types::pb::envoy::config::listener::v3::{Listener, filter::ConfigType};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch, VirtualHost, route, route_action, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use envoy_types::pb::google::protobuf::Duration;
use prost::Message;
use serde_json::{Value, json};
use testkit::Issuer;
use vaultwall::compile::envoy::{Configuration, Proxy, Tls, Upstream, configuration};
use vaultwall::index::Index;
use vaultwall::limits::Limits;
use vaultwall::objects::{LoadedObjects, parse_file};
use vaultwall::policy::{Firewall, VaultId};
use vaultwall::publish::Compiler;
use vaultwall::xds::{Resource, Snapshot};

use crate::MOST;

/// Part of the firewall that an Envoy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filters {
    /// Everything, with so many addresses of pods. With none, no client can be allowed by address: there a policy
    /// whose default action is Allow allows every client, so that the request goes through the same filters to the
    /// same vault.
    Hold(usize),
    /// Everything, with [`SOME`] addresses, and a bypass for [`SOME`] identities with this proof.
    Identities(Proof),
    /// Everything, with [`SOME`] addresses, and denials that are streamed to the xDS server.
    Streams,
    /// Everything, with [`SOME`] addresses, in one file as a program writes it.
    Rendered(Build),
    /// All but the filters that hold the rules and decide: the listener and the routes, which classify requests, are
    /// the same.
    Removed,
    /// Not even those routes, nor what is done with headers and bodies: one route, and the same access log.
    BareProxy,
}

/// Proof of the identities of trusted services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Pod,
    /// Of a federated issuer.
    Token,
}

/// A `vaultwall` program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// The one that the environment names.
    Before,
    This,
}

impl Build {
    /// Path of the program, if there is one.
    pub(crate) fn program(self) -> Option<PathBuf> {
        match self {
            Self::This => Some(testkit::vaultwall()),
            Self::Before => {
                let path = std::env::var_os("BEFORE").filter(|path| !path.is_empty());
                path.map(PathBuf::from)
            }
        }
    }
}

/// Numbers of addresses and of identities where neither is varied.
pub(crate) const SOME: usize = 100;
/// Most identities of one trusted service, at most 64.
const IDENTITIES: usize = 50;
/// Access log of a rendered configuration, and that of all Envoys here.
const STDOUT: &str = "/dev/stdout";
const LOG: &str = "/dev/null";
/// Audience of the tokens.
const AUDIENCE: &str = "vault";

/// Issuer of the tokens.
static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("https://issuer.example", "key"));

/// The pod with this number. Pods are dense around the addresses that ask, so that a lookup goes as deep as it can.
pub(crate) fn pod_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7f40_0001 + u32::try_from(number).unwrap())
}

/// The only pod of the identity with this number. No rule has it.
pub(crate) fn identity_address(number: usize) -> Ipv4Addr {
    pod_address(2 * MOST + number)
}

/// A token of the identity with this number, valid for an hour.
pub(crate) fn token(number: usize) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({
        "sub": identity(number),
        "aud": AUDIENCE,
        "iat": now.as_secs(),
        "exp": now.as_secs() + 3600,
    });
    ISSUER.token(&claims)
}

fn identity(number: usize) -> String {
    format!("agent-{number}")
}

impl Filters {
    /// How many addresses are let in.
    pub(crate) fn addresses(self) -> usize {
        match self {
            Self::Hold(addresses) => addresses,
            Self::Identities(_) | Self::Streams | Self::Rendered(_) => SOME,
            Self::Removed | Self::BareProxy => 0,
        }
    }

    fn proof(self) -> Option<Proof> {
        match self {
            Self::Identities(proof) => Some(proof),
            Self::Hold(_) | Self::Streams | Self::Rendered(_) | Self::Removed | Self::BareProxy => {
                None
            }
        }
    }

    /// The whole configuration of an Envoy that listens at this address, in a file below the folder, as a program
    /// writes it.
    pub(crate) fn render(
        self,
        program: &Path,
        folder: &Path,
        address: Ipv4Addr,
        vault: SocketAddrV4,
    ) -> PathBuf {
        let file = folder.join("objects.json");
        fs::write(&file, objects(self).to_string()).unwrap();
        let output = Command::new(program)
            .args(["render", "--upstream", &vault.to_string()])
            .args(["--data-listen", &format!("{address}:8200")])
            .args(["--management-listen", &format!("{address}:8300")])
            .arg("--output-dir")
            .args([folder, Path::new("-f"), &file])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let rendered = folder.join("vault.openbao/envoy-static.json");
        let text = fs::read_to_string(&rendered).unwrap();
        assert!(text.contains(STDOUT));
        fs::write(&rendered, text.replace(STDOUT, LOG)).unwrap();
        rendered
    }

    /// Resources of an Envoy that listens at this address.
    pub(crate) fn snapshot(self, address: Ipv4Addr, vault: SocketAddrV4) -> Snapshot {
        let firewall = firewall(self);
        let proxy = Proxy {
            data: SocketAddrV4::new(address, 8200),
            management: SocketAddrV4::new(address, 8300),
            upstream: Some(Upstream {
                host: vault.ip().to_string(),
                port: vault.port(),
            }),
            access_log: LOG.to_owned(),
            streams_denials: self == Self::Streams,
            ..Proxy::in_cluster(&firewall, Tls::default(), None)
        };
        let bare = match self {
            Self::Hold(_) | Self::Identities(_) | Self::Streams | Self::Rendered(_) => {
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

/// Changes the connection manager, the last network filter of each chain.
fn change_manager(listener: &mut Listener, change: impl Fn(&mut HttpConnectionManager)) {
    for chain in &mut listener.filter_chains {
        let filter = chain.filters.last_mut().unwrap();
        let Some(ConfigType::TypedConfig(packed)) = &mut filter.config_type else {
            panic!("a chain without a connection manager");
        };
        let mut manager = HttpConnectionManager::decode(packed.value.as_slice()).unwrap();
        change(&mut manager);
        packed.value = manager.encode_to_vec();
    }
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

/// Firewall of a vault that lets in a subnet with so many pods.
fn firewall(filters: Filters) -> Firewall {
    let limits = Limits::default();
    let contents = parse_file(Path::new("objects"), &objects(filters).to_string(), &limits);
    let loaded = LoadedObjects::of([contents.unwrap()]);
    assert!(loaded.violations.is_empty(), "{:?}", loaded.violations);
    let mut index: Index = loaded.into_index(limits);
    let vault = VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    };
    let firewall = index.resolve(&vault).unwrap().resolution.firewall;
    assert_eq!(firewall.virtual_networks.len(), filters.addresses());
    firewall
}

/// The vault, its policy, and the pods.
fn objects(filters: Filters) -> Value {
    let rules = json!([{"subnet": {"virtualNetwork": "corp", "name": "build"}}]);
    let (action, rules) = match filters.addresses() {
        0 => ("Allow", json!([])),
        _ => ("Deny", rules),
    };
    let mut policy = json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
        "metadata": {"name": "openbao", "namespace": "vault"},
        "spec": {
            "targetRef": {"kind": "Service", "name": "openbao", "port": 8200},
            "vault": {"engines": [{"path": "secret", "type": "KvV2"}, {"path": "transit", "type": "Transit"}]},
            "defaultAction": action,
            "virtualNetworkRules": rules,
        },
    });
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "build", "labels": {"team": "build"},
        }}),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "openbao", "namespace": "vault"},
            "spec": {"selector": {"app": "openbao"}, "ports": [{"port": 8200}]},
        }),
        json!({
            "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VirtualNetwork", "metadata": {"name": "corp"},
            "spec": {"subnets": [{"name": "build", "serviceEndpoints": ["Vault"], "pods": {
                "namespaceSelector": {"matchLabels": {"team": "build"}},
                "podSelector": {"matchLabels": {"app": "runner"}},
            }}]},
        }),
    ];
    items.extend((0..filters.addresses()).map(|number| {
        let name = format!("runner-{number}");
        pod(&name, "runner", "default", pod_address(number))
    }));
    if let Some(proof) = filters.proof() {
        policy["spec"]["bypass"] = "TrustedServices".into();
        items.extend(trusted_services(proof));
    }
    items.push(policy);
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

/// Services with [`SOME`] identities, and the pods of those that are service accounts.
fn trusted_services(proof: Proof) -> Vec<Value> {
    let numbers: Vec<usize> = (0..SOME).collect();
    let services = numbers.chunks(IDENTITIES).map(|numbers| {
        let identities = numbers.iter().map(|number| match proof {
            Proof::Pod => {
                json!({"serviceAccount": {"namespace": "build", "name": identity(*number)}})
            }
            Proof::Token => json!({"federatedCredential": {
                "issuer": ISSUER.url,
                "subject": identity(*number),
                "audiences": [AUDIENCE],
                "jwks": {"keys": [ISSUER.key()]},
            }}),
        });
        json!({
            "apiVersion": "vaultwall.dev/v1alpha1", "kind": "TrustedService",
            "metadata": {"name": format!("service-{}", numbers[0])},
            "spec": {
                "scenarios": [{"name": "read", "operations": ["secrets/get"]}],
                "identities": identities.collect::<Vec<_>>(),
            },
        })
    });
    let pods = numbers.iter().flat_map(|number| {
        let name = identity(*number);
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "build"},
        });
        [account, pod(&name, "agent", &name, identity_address(*number))]
    });
    match proof {
        Proof::Pod => services.chain(pods).collect(),
        Proof::Token => services.collect(),
    }
}

fn pod(name: &str, app: &str, account: &str, address: Ipv4Addr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "build", "labels": {"app": app}},
        "spec": {"serviceAccountName": account, "containers": [{"name": "main", "image": "main:1"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    })
}
