//! `VirtualNetwork`: named subnets. Its owner is the network's admin.
#![expect(
    unreachable_pub,
    reason = "the derived schema repeats a struct's visibility inside a function"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printed column has its own type"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::VirtualNetworkStatus;
use super::{borrowed, rules};

/// Named subnets that vault owners can allow: groups of pods, or private address ranges outside the cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "vaultwall.dev",
    version = "v1alpha1",
    kind = "VirtualNetwork",
    plural = "virtualnetworks",
    shortname = "vnet",
    category = "vaultwall",
    status = "VirtualNetworkStatus",
    printcolumn(
        name = "Subnets",
        type_ = "integer",
        json_path = ".status.subnets",
        description = "Number of its subnets"
    ),
    printcolumn(
        name = "Enabled",
        type_ = "integer",
        json_path = ".status.enabledSubnets",
        description = "Number of its subnets with the vaults' service endpoint, which rules can allow"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether this generation of the network is valid"
    ),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        json_path = ".metadata.generation",
        description = "Generation of the network, which increases with every edit"
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
        description = "Time since the network was created"
    ),
    doc = "Named subnets that vault owners can allow. Each subnet opts in to the vault's service endpoint."
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualNetworkSpec {
    /// Subnets of this network, with unique names.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub subnets: Vec<Subnet>,
}

/// A subnet; exactly one of `pods` and `addressPrefixes` is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = rules::exactly_one("pods", "addressPrefixes"),
    validation = rules::namespace_selector_is_given()
)]
#[serde(rename_all = "camelCase")]
pub struct Subnet {
    /// Name of the subnet, unique in its virtual network.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::dns_label())]
    pub name: String,
    /// Service endpoints that the subnet's owner enabled. Without `Vault`, rules for this subnet do not apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub service_endpoints: Vec<ServiceEndpoint>,
    /// Pods that belong to the subnet. `namespaceSelector` is required here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// IPv4 ranges of the subnet: private (RFC 1918), shared (100.64.0.0/10) or loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), inner(length(max = 43)), transform = rules::subnet_prefixes)]
    pub address_prefixes: Option<Vec<String>>,
}

/// A service endpoint that a subnet can enable.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceEndpoint {
    /// Service endpoint of vaults.
    Vault,
}

/// Pods by label, with the meaning of a `NetworkPolicyPeer`: `{}` selects everything; with a `namespaceSelector`, a
/// missing `podSelector` selects all pods of those namespaces. At least one of the two is required.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = rules::selects_something())]
#[serde(rename_all = "camelCase")]
pub struct PodSelector {
    /// Namespaces, by their labels. Default in an inline rule: the policy's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = borrowed::label_selector)]
    pub namespace_selector: Option<LabelSelector>,
    /// Pods, by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = borrowed::label_selector)]
    pub pod_selector: Option<LabelSelector>,
}
