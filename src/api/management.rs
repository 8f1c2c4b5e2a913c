//! Access to the management endpoint of a vault, and the identities that a policy can contain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Access to the management endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Management {
    /// Which network rules apply to the management endpoint.
    #[serde(default)]
    pub access: ManagementAccess,
    /// Tokens that a caller with a token may create through the management endpoint.
    #[serde(default)]
    pub token_creation: TokenCreation,
    /// Identities that may use critical operations (init, unseal, …).
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub operators: Vec<Identity>,
    /// Identities that may write secrets and keys through the management endpoint.
    #[serde(default)]
    #[schemars(length(max = 20))]
    pub deployers: Vec<Identity>,
}

/// Which network rules apply to the management endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManagementAccess {
    /// None: every caller can send management requests. The vault still requires its token.
    #[default]
    Unrestricted,
    /// The same rules as on the data endpoint.
    NetworkRules,
    /// The management endpoint answers only health probes.
    Disabled,
}

/// Tokens that the management endpoint may hand out, besides those of logins. Each value includes those before it.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum TokenCreation {
    /// None.
    Disabled,
    /// Child tokens of the caller's own (`auth/token/create`), as Terraform creates one when it starts.
    #[default]
    ChildTokens,
    /// Also orphan tokens and tokens by a role of the token method (`auth/token/create-orphan`,
    /// `auth/token/create/NAME`).
    AllTokens,
}

/// An identity; exactly one of the fields is set.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// A service account of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountRef>,
    /// A service account, by name, in every namespace of the vault's subscription.
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
    /// Namespace of the service account.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Name of the service account.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A service account, by name, in every namespace of the vault's subscription.
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
    /// Issuer of the token (claim `iss`), an https URL.
    #[schemars(length(min = 1, max = 600))]
    pub issuer: String,
    /// Subject of the token (claim `sub`).
    #[schemars(length(min = 1, max = 600))]
    pub subject: String,
    /// Audiences (claim `aud`); the token must have at least one of them.
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 600)))]
    pub audiences: Vec<String>,
    /// Public keys of the issuer: a JSON Web Key Set as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub jwks: Option<String>,
    /// URL of the issuer's JSON Web Key Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 600))]
    pub jwks_uri: Option<String>,
}
