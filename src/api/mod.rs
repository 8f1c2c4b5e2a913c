//! The custom resources: wire types and their schema, nothing else. No rule of the firewall is decided here.

mod labels;
mod vault_network_policy;
mod virtual_network;

pub use labels::*;
pub use vault_network_policy::*;
pub use virtual_network::*;

/// API group of every kind.
pub const GROUP: &str = "vaultwall.dev";
/// The one API version; changes to it are additive.
pub const VERSION: &str = "v1alpha1";
