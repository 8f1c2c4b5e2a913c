//! From the resolved firewall to Envoy's resources.
//!
//! | resource | content | changes with |
//! |---|---|---|
//! | listeners `data`, `management` | addresses, filters, access log, bodies of denials | the policy's shape |
//! | their choice of a filter chain | the addresses of all rules, for limits of connections | every rule |
//! | routes `vault`, used by both | plane and operations of each request | engines and namespaces |
//! | clusters `vault`, `vault-management`, … | how the vault is found, one for each budget | the vault's address |
//! | endpoints of the same names | the vault's pods, in a cluster of Kubernetes | every start and end of such a pod |
//! | extension configs `vaultwall.*` | trusted proxies, the rules, and the decision | every rule and proxy |

mod access_log;
mod addresses;
mod arguments;
mod bootstrap;
mod budget;
mod callers;
mod client;
mod cluster;
mod composite;
mod config_source;
mod configuration;
mod decision;
mod denial_stream;
mod grants;
mod http;
mod json;
mod kubelet_port;
mod listener;
mod matching;
mod metadata;
mod metrics_port;
mod names;
mod overload;
mod proxy;
mod rbac;
mod reply;
mod routes;
mod secret_files;
mod text_map;
mod tls;
mod token;
mod wire;
mod xds_cluster;

pub use arguments::ARGUMENTS;
pub use bootstrap::{Bootstrap, static_bootstrap};
pub use callers::filter_chain_matcher;
pub use cluster::endpoints;
pub use configuration::{Configuration, configuration, extensions};
pub use denial_stream::{NUMBER, STREAM};
pub use json::{ConfigurationJson, JsonError, to_json};
pub use kubelet_port::{DRAIN_PATH, DRAIN_SECONDS, LIVE_PATH, READY_PATH};
pub use metrics_port::MetricsPort;
pub use names::ATTEMPT;
pub use proxy::{Http2, Proxy, Upstream};
pub use secret_files::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE};
pub use tls::{Tls, VaultTls};
pub use xds_cluster::{SERVER_NAME, XdsServer};
