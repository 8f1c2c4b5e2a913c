//! From the resolved firewall to Envoy's resources.
//!
//! | resource | content | changes with |
//! |---|---|---|
//! | listeners `data`, `management` | addresses, filters, access log, bodies of denials | the policy's shape |
//! | routes `vault`, used by both | plane and operations of each request | engines and namespaces |
//! | cluster `vault` | how the vault is found | the vault's address |
//! | endpoints `vault` | the vault's pods, in a cluster of Kubernetes | every start and end of such a pod |
//! | extension configs `vaultwall.*` | the rules, and the decision | every rule |

mod addresses;
mod arguments;
mod bootstrap;
mod cluster;
mod config_source;
mod configuration;
mod drain_port;
mod http;
mod json;
mod listener;
mod matching;
mod metrics_port;
mod names;
mod proxy;
mod rbac;
mod reply;
mod routes;
mod secret_files;
mod tls;
mod wire;
mod xds_cluster;

pub use arguments::ARGUMENTS;
pub use bootstrap::{Bootstrap, static_bootstrap};
pub use cluster::endpoints;
pub use configuration::{Configuration, configuration, extensions};
pub use drain_port::{DRAIN_PATH, DRAIN_SECONDS};
pub use json::{ConfigurationJson, JsonError, to_json};
pub use metrics_port::MetricsPort;
pub use proxy::{Proxy, Upstream};
pub use secret_files::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE};
pub use tls::{Tls, VaultTls};
pub use xds_cluster::{SERVER_NAME, XdsServer};
