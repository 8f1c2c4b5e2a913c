//! Access to the management endpoint of a vault.
#![expect(
    unreachable_pub,
    reason = "the derived schema repeats a struct's visibility inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::rules;

/// Access to the management endpoint.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
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
    #[x_kube(validation = rules::no_key_urls())]
    pub operators: Vec<Identity>,
    /// Identities that may write secrets and keys through the management endpoint.
    #[serde(default)]
    #[schemars(length(max = 20))]
    #[x_kube(validation = rules::no_key_urls())]
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
