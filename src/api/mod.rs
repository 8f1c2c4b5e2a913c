//! The custom resources: wire types and their schema, nothing else. No rule of the firewall is decided here.

mod admission;
mod borrowed;
mod labels;
mod management;
mod proxy;
mod rules;
mod vault_network_policy;
mod virtual_network;

pub use admission::*;
pub use borrowed::MESSAGE_LENGTH;
pub use labels::*;
pub use management::*;
pub use proxy::*;
pub use vault_network_policy::*;
pub use virtual_network::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of every kind.
pub const GROUP: &str = "vaultwall.dev";
/// The one API version; changes to it are additive.
pub const VERSION: &str = "v1alpha1";

/// The definition of every kind, in the order of their names.
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    vec![VaultNetworkPolicy::crd(), VirtualNetwork::crd()]
}
