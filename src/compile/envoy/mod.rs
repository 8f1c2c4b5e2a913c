//! From the resolved firewall to Envoy's resources.
//!
//! | resource | what it says | changes with |
//! |---|---|---|
//! | listeners `data`, `management` | addresses, filters, access log, bodies of denials | the policy's shape |
//! | routes `vault`, used by both | which request is which plane and operation | engines and namespaces |
//! | cluster `vault` | where allowed requests go | the vault's address |
//! | endpoints `vault` | the vault's pods, in a cluster of Kubernetes | every start and end of such a pod |
//! | extension configs `vaultwall.*` | the rules, and the decision | every rule |

mod arguments;
mod bootstrap;
mod cluster;
mod json;
mod leaving_port;
mod listener;
mod matching;
mod metrics_port;
mod rbac;
mod reply;
mod routes;
mod secret_files;
mod tls;
mod wire;
mod xds_cluster;

use std::net::{Ipv4Addr, SocketAddrV4};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::listener::v3::Listener as EnvoyListener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;

use super::ProxyPorts;
use crate::policy::{Firewall, Listener, VaultId};
use crate::vault_api::Table;

pub use arguments::ARGUMENTS;
pub use bootstrap::{Bootstrap, static_bootstrap};
pub use cluster::endpoints;
pub use json::{ConfigurationJson, JsonError, to_json};
pub use leaving_port::{LEAVE, LEAVING_SECONDS};
pub use metrics_port::MetricsPort;
pub use secret_files::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE};
pub use tls::{Tls, VaultTls};
pub use xds_cluster::{SERVER_NAME, XdsServer};

/// Name of the vault's cluster.
const CLUSTER: &str = "vault";
/// Filter state that holds a request's plane.
const PLANE: &str = "vaultwall.plane";
/// What that filter state holds for a request with more than one reading; also the name of its route.
const BAD_REQUEST: &str = "bad-request";
/// The filter that writes the filter state, by its route.
const SET_FILTER_STATE: &str = "envoy.filters.http.set_filter_state";

/// What one proxy is told beside the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where the data listener listens.
    pub data: SocketAddrV4,
    /// Where the management listener listens.
    pub management: SocketAddrV4,
    /// The vault; none: its addresses are discovered, as [`endpoints`].
    pub upstream: Option<Upstream>,
    /// File that the access log is appended to; `/dev/stdout` for the proxy's own output.
    pub access_log: String,
    /// What it speaks TLS with, if it does.
    pub tls: Tls,
}

impl Proxy {
    /// A proxy in the vault's cluster: it listens on every address, and asks the vault's Service.
    pub fn in_cluster(firewall: &Firewall, tls: Tls) -> Self {
        let ports = ProxyPorts::of(firewall.port);
        let everywhere = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let VaultId { namespace, service } = &firewall.vault;
        Self {
            data: everywhere(ports.data),
            management: everywhere(ports.management),
            upstream: Some(Upstream {
                host: format!("{service}.{namespace}.svc"),
                port: firewall.port,
            }),
            access_log: "/dev/stdout".to_owned(),
            tls,
        }
    }
}

/// The vault's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// IPv4 address or DNS name.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Everything that the proxies of one firewall are told, apart from where to ask for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// CDS.
    pub clusters: Vec<Cluster>,
    /// LDS.
    pub listeners: Vec<EnvoyListener>,
    /// RDS.
    pub routes: Vec<RouteConfiguration>,
    /// ECDS.
    pub extensions: Vec<TypedExtensionConfig>,
}

/// Compiles a firewall. `table` is the firewall's own. Equal input gives equal bytes.
pub fn configuration(firewall: &Firewall, table: &Table, proxy: &Proxy) -> Configuration {
    let sides = [Listener::Data, Listener::Management];
    Configuration {
        clusters: vec![cluster::cluster(proxy)],
        listeners: sides
            .map(|side| listener::listener(firewall, proxy, side, listener::Delivery::Ads))
            .into(),
        routes: vec![routes::route_configuration(table)],
        extensions: extensions(firewall),
    }
}

/// The part that a rule change touches.
pub fn extensions(firewall: &Firewall) -> Vec<TypedExtensionConfig> {
    let facts =
        rbac::Fact::ALL.map(|fact| rbac::extension(fact.resource(), &fact.filter(firewall)));
    let sides = [Listener::Data, Listener::Management];
    let decisions = sides.map(|side| {
        rbac::extension(
            rbac::decision_resource(side),
            &rbac::decision(firewall, side),
        )
    });
    facts.into_iter().chain(decisions).collect()
}
