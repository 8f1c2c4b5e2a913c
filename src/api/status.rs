//! Status of each kind, and the conditions that it has before the operator has seen the object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::borrowed;
use super::mode::Mode;

/// Observed state. Only the operator writes it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VaultNetworkPolicyStatus {
    /// Generation of the policy that the conditions describe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions `Accepted`, `ResolvedRefs`, `Programmed`, `Conflicted` and `Ready`.
    #[serde(default)]
    #[schemars(length(max = 16), transform = borrowed::conditions)]
    pub conditions: Vec<Condition>,
    /// Current address of the vault for clients, `HOST:PORT`, for `VAULT_ADDR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub endpoint: Option<String>,
    /// Address of the vault's management endpoint, `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub management_endpoint: Option<String>,
    /// Mode in force at the vault: `Enforced` if one of its policies has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Number of the vault's proxies that are ready and enforce the current rules, of those that are wanted: `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub proxies: Option<String>,
    /// Time since which the proxies enforce this generation; none while `Programmed` is not `True`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programmed_since: Option<Time>,
    /// Number of the policy's virtual-network rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_network_rules: Option<i64>,
    /// Number of the policy's IP rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_rules: Option<i64>,
    /// Number of addresses and ranges that the rules of all policies of the vault allow. Pods are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<i64>,
    /// Problems for which the policy is not refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub warnings: Vec<PolicyWarning>,
}

/// A problem for which the policy is not refused.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyWarning {
    /// Class of the problem, in `CamelCase`.
    #[schemars(length(min = 1, max = 63))]
    pub reason: String,
    /// Path of the field, such as `spec.defaultAction`, or the other object, such as `NetworkPolicy/metrics`.
    #[schemars(length(max = 253))]
    pub field: String,
    /// Cause and correction, for people.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// Observed state of a virtual network. Only the operator writes it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VirtualNetworkStatus {
    /// Generation of the network that the conditions describe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions `Accepted` and `Ready`.
    #[serde(default)]
    #[schemars(length(max = 16), transform = borrowed::conditions)]
    pub conditions: Vec<Condition>,
    /// Number of subnets; none if this generation is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnets: Option<i64>,
    /// Number of subnets with the vaults' service endpoint; none if this generation is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled_subnets: Option<i64>,
}

/// Observed state of a trusted service. Only the operator writes it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TrustedServiceStatus {
    /// Generation of the service that the conditions describe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions `Accepted` and `Ready`.
    #[serde(default)]
    #[schemars(length(max = 16), transform = borrowed::conditions)]
    pub conditions: Vec<Condition>,
    /// Number of scenarios; none if this generation is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenarios: Option<i64>,
    /// Number of identities; none if this generation is invalid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_count: Option<i64>,
    /// Number of pods that run under its service accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<i64>,
    /// State of each identity, in the order of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub identities: Vec<IdentityStatus>,
    /// Policies that let the service in, as `NAMESPACE/NAME`, sorted; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub policies: Vec<String>,
    /// Number of all policies that let the service in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_count: Option<i64>,
}

/// State of an identity of a trusted service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IdentityStatus {
    /// The identity: `serviceAccount NAMESPACE/NAME`, `registeredResource NAME`, or `federatedCredential ISSUER
    /// SUBJECT`.
    #[schemars(length(max = 1253))]
    pub identity: String,
    /// Number of existing service accounts that it names; none for a federated credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<i64>,
    /// Number of pods that run under them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<i64>,
    /// Namespaces of these pods, sorted; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub namespaces: Vec<String>,
    /// Checksum of the issuer's keys in use, `sha256:` and 64 hexadecimal digits; only for a federated credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    pub keys: Option<String>,
    /// Class of the problem because of which it lets nobody in, or may let in others than meant, in `CamelCase`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub reason: Option<String>,
    /// Cause and correction of the problem, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// Types of the conditions of a policy that the operator writes.
pub const POLICY_CONDITIONS: [&str; 5] = [
    "Accepted",
    "ResolvedRefs",
    "Programmed",
    "Conflicted",
    "Ready",
];
/// Types of the conditions of a trusted service that the operator writes.
pub const SERVICE_CONDITIONS: [&str; 2] = ["Accepted", "Ready"];
/// Types of the conditions of a virtual network that the operator writes.
pub const NETWORK_CONDITIONS: [&str; 2] = ["Accepted", "Ready"];

/// Returns the status that the API server shows until the operator has written one.
pub(super) fn before_the_operator(conditions: &[&str]) -> Value {
    let conditions = conditions.iter().map(|kind| {
        json!({
            "type": kind,
            "status": "Unknown",
            "reason": "Pending",
            "message": "waiting for the operator",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        })
    });
    json!({"conditions": conditions.collect::<Vec<_>>()})
}
