//! Who reaches the management endpoint of a vault, and the identities that a policy can name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who reaches the management endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Management {
    /// Which network rules hold on the management endpoint.
    #[serde(default)]
    pub access: ManagementAccess,
    /// Identities that reach critical operations (init, unseal, …).
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub operators: Vec<Identity>,
    /// Identities that may deploy secrets and keys on the management endpoint.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub deployers: Vec<Identity>,
}

/// Which network rules hold on the management endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManagementAccess {
    /// None: the control plane is never blocked; the vault still asks for its token.
    #[default]
    Unrestricted,
    /// The same as on the data plane.
    NetworkRules,
    /// The management endpoint answers nothing but health probes.
    Disabled,
}

/// An identity: exactly one of the three.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// A service account of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountRef>,
    /// A service account name, in every namespace of the vault's own subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_resource: Option<RegisteredResource>,
    /// A federated identity credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federated_credential: Option<FederatedCredential>,
}

/// A service account of this cluster.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A service account name in every namespace of the vault's own subscription.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredResource {
    /// Name of the service account.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
}

/// A federated identity credential.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FederatedCredential {
    /// Issuer, an https URL.
    #[schemars(length(min = 1, max = 600))]
    pub issuer: String,
    /// Subject.
    #[schemars(length(min = 1, max = 600))]
    pub subject: String,
    /// Audiences; any one of them is enough.
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 600)))]
    pub audiences: Vec<String>,
    /// Keys, inline: a JSON Web Key Set as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub jwks: Option<String>,
    /// Keys, by URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 600))]
    pub jwks_uri: Option<String>,
}
