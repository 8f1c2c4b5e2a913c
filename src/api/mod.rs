//! The custom resources: wire types and their schema. This module contains no rule of the firewall.

mod admission;
mod borrowed;
mod definitions;
pub mod expires_at;
mod group;
mod identity;
mod labels;
mod management;
mod mode;
mod operations;
mod proxy;
mod rules;
mod status;
mod trusted_proxy;
mod trusted_service;
mod vault_network_policy;
mod virtual_network;

pub use admission::*;
pub use borrowed::MESSAGE_LENGTH;
pub use definitions::{INSTALL_DEFINITIONS, custom_resource_definitions};
pub use group::{GROUP, VERSION};
pub use identity::*;
pub use labels::*;
pub use management::*;
pub use mode::Mode;
pub use operations::OPERATIONS;
pub use proxy::*;
pub use status::{
    IdentityStatus, NETWORK_CONDITIONS, POLICY_CONDITIONS, PolicyWarning, SERVICE_CONDITIONS,
    TrustedServiceStatus, VaultNetworkPolicyStatus, VirtualNetworkStatus,
};
pub use trusted_proxy::*;
pub use trusted_service::*;
pub use vault_network_policy::*;
pub use virtual_network::*;
