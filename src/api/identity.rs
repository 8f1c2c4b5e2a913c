//! Identities of callers, as trusted services and policies list them.
#![expect(
    unreachable_pub,
    reason = "the derived schema repeats a struct's visibility inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rules;

/// An identity; exactly one of the fields is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = rules::exactly_one_of_three("serviceAccount", "registeredResource", "federatedCredential"))]
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
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountRef {
    /// Namespace of the service account.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::dns_label())]
    pub namespace: String,
    /// Name of the service account. `default` is refused: every pod that names no account runs under it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::dns_subdomain(), validation = rules::no_default_account())]
    pub name: String,
}

/// A service account, by name, in every namespace of the vault's subscription.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredResource {
    /// Name of the service account. `default` is refused: every pod that names no account runs under it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::dns_subdomain(), validation = rules::no_default_account())]
    pub service_account_name: String,
}

/// A federated identity credential.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = rules::exactly_one("jwks", "jwksUri"))]
#[serde(rename_all = "camelCase")]
pub struct FederatedCredential {
    /// Issuer of the token (claim `iss`), an https URL.
    #[schemars(length(min = 1, max = 600))]
    #[x_kube(validation = rules::https_url())]
    pub issuer: String,
    /// Subject of the token (claim `sub`).
    #[schemars(length(min = 1, max = 600))]
    pub subject: String,
    /// Audiences (claim `aud`); the token must have at least one of them.
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 600)))]
    pub audiences: Vec<String>,
    /// Public keys of the issuer: a JSON Web Key Set. Exactly one of `jwks` and `jwksUri` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<KeySet>,
    /// The https URL of the issuer's JSON Web Key Set. The operator fetches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 600))]
    #[x_kube(validation = rules::https_url())]
    pub jwks_uri: Option<String>,
}

/// A JSON Web Key Set (RFC 7517).
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct KeySet {
    /// Public keys. Keys that cannot verify a token by an asymmetric signature are refused.
    #[schemars(length(min = 1, max = 32), transform = rules::any_objects)]
    pub keys: Vec<Map<String, Value>>,
}
