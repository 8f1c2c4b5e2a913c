//! The custom resources: wire types and their schema, nothing else. No rule of the firewall is decided here.

mod vault_network_policy;
mod virtual_network;

pub use vault_network_policy::*;
pub use virtual_network::*;

/// API group of every kind.
pub const GROUP: &str = "vaultwall.dev";
/// The one API version; changes to it are additive.
pub const VERSION: &str = "v1alpha1";
/// Label on a namespace whose owner opted its pods in to the vault's service endpoint (R3).
pub const SERVICE_ENDPOINT_LABEL: &str = "vaultwall.dev/service-endpoint";
/// The value of [`SERVICE_ENDPOINT_LABEL`] that opts in; any other value does not.
pub const SERVICE_ENDPOINT_ENABLED: &str = "enabled";
