//! `TrustedService`: a service that vault owners can let past their network rules. Its owner is the platform's admin.
#![expect(
    unreachable_pub,
    reason = "the derived schema repeats a struct's visibility inside a function"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printed column has its own type"
)]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::rules;
use super::status::TrustedServiceStatus;

/// A service, its supported usage scenarios, and the identities that prove to be it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "vaultwall.dev",
    version = "v1alpha1",
    kind = "TrustedService",
    plural = "trustedservices",
    shortname = "ts",
    category = "vaultwall",
    status = "TrustedServiceStatus",
    printcolumn(
        name = "Service",
        type_ = "string",
        json_path = ".spec.displayName",
        description = "Name of the service for people"
    ),
    printcolumn(
        name = "Scenarios",
        type_ = "integer",
        json_path = ".status.scenarios",
        description = "Number of its supported usage scenarios"
    ),
    printcolumn(
        name = "Identities",
        type_ = "integer",
        json_path = ".status.identityCount",
        description = "Number of identities that are mapped to it; without one, it lets nobody in"
    ),
    printcolumn(
        name = "Pods",
        type_ = "integer",
        json_path = ".status.pods",
        description = "Number of pods that run under its service accounts"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether this generation of the service is valid"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every identity of it can be proven"
    ),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        json_path = ".metadata.generation",
        description = "Generation of the service, which increases with every edit"
    ),
    printcolumn(
        name = "Observed",
        type_ = "integer",
        json_path = ".status.observedGeneration",
        description = "Generation that the other columns describe; a lower one means that the operator has not \
                       processed the last edit"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the service was created"
    ),
    doc = "A service that vault owners can let past their network rules, for its supported usage scenarios only."
)]
#[serde(rename_all = "camelCase")]
pub struct TrustedServiceSpec {
    /// Name of the service for people, for example `Azure SQL Database`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub display_name: Option<String>,
    /// Supported usage scenarios. The service may do the operations of all of them, and no others.
    #[schemars(length(min = 1, max = 32))]
    pub scenarios: Vec<Scenario>,
    /// Identities that are mapped to the service. Without one, it lets nobody in.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub identities: Vec<Identity>,
}

/// A usage scenario of a service: what it is trusted for.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Name of the scenario in answers and logs, unique in its service.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::dns_label())]
    pub name: String,
    /// Operations of the scenario, by the names of Azure Key Vault, for example `secrets/get`.
    #[schemars(length(min = 1, max = 64), transform = rules::operations)]
    pub operations: Vec<String>,
}
