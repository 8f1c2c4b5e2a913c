//! The custom resources: wire types and their schema. This module contains no rule of the firewall.

mod admission;
mod borrowed;
mod definitions;
pub mod expires_at;
mod group;
mod labels;
mod management;
mod proxy;
mod rules;
mod status;
mod trusted_proxy;
mod vault_network_policy;
mod virtual_network;

pub use admission::*;
pub use borrowed::MESSAGE_LENGTH;
pub use definitions::{INSTALL_DEFINITIONS, custom_resource_definitions};
pub use group::{GROUP, VERSION};
pub use labels::*;
pub use management::*;
pub use proxy::*;
pub use status::{
    NETWORK_CONDITIONS, POLICY_CONDITIONS, PolicyWarning, VaultNetworkPolicyStatus,
    VirtualNetworkStatus,
};
pub use trusted_proxy::*;
pub use vault_network_policy::*;
pub use virtual_network::*;
