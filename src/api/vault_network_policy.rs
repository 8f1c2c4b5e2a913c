//! `VaultNetworkPolicy`: the callers that may use a vault. Its owner is the vault's owner.
#![expect(
    unreachable_pub,
    reason = "the derived schema repeats a struct's visibility inside a function"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printed column has its own type"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::management::Management;
use super::mode::Mode;
use super::proxy::Proxy;
use super::status::VaultNetworkPolicyStatus;
use super::trusted_proxy::TrustedProxy;
use super::virtual_network::PodSelector;
use super::{expires_at, rules};
use crate::limits::Limits;

/// Callers that may use a vault's data endpoint. The rules of all policies of one Service apply together.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "vaultwall.dev",
    version = "v1alpha1",
    kind = "VaultNetworkPolicy",
    plural = "vaultnetworkpolicies",
    shortname = "vnp",
    category = "vaultwall",
    namespaced,
    status = "VaultNetworkPolicyStatus",
    printcolumn(
        name = "Vault",
        type_ = "string",
        json_path = ".spec.targetRef.name",
        description = "Service of the protected vault"
    ),
    printcolumn(
        name = "Default",
        type_ = "string",
        json_path = ".spec.defaultAction",
        description = "Action for a request that no rule allows"
    ),
    printcolumn(
        name = "Proxies",
        type_ = "string",
        json_path = ".status.proxies",
        description = "Proxies that are ready and enforce the current rules, of those that are wanted"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint",
        description = "Address of the vault for clients"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether this generation of the policy is valid and within the limits"
    ),
    printcolumn(
        name = "Resolved",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"ResolvedRefs\")].status",
        description = "Whether every object that the policy refers to exists"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status",
        description = "Whether every connected proxy enforces this generation"
    ),
    printcolumn(
        name = "Since",
        type_ = "date",
        json_path = ".status.programmedSince",
        description = "Time since which the proxies enforce this generation"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".status.mode",
        description = "Mode in force at the vault: with Audit, requests that the network rules deny are only recorded"
    ),
    printcolumn(
        name = "Generation",
        type_ = "integer",
        json_path = ".metadata.generation",
        description = "Generation of the policy, which increases with every edit"
    ),
    printcolumn(
        name = "Observed",
        type_ = "integer",
        json_path = ".status.observedGeneration",
        description = "Generation that the other columns describe; if lower, the last edit is not processed yet"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether all of this generation is in force",
        priority = 1
    ),
    printcolumn(
        name = "Conflicted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Conflicted\")].status",
        description = "Whether settings of another policy replace some of its settings",
        priority = 1
    ),
    printcolumn(
        name = "Networks",
        type_ = "integer",
        json_path = ".status.virtualNetworkRules",
        description = "Number of its virtual-network rules",
        priority = 1
    ),
    printcolumn(
        name = "IPs",
        type_ = "integer",
        json_path = ".status.ipRules",
        description = "Number of its IP rules",
        priority = 1
    ),
    printcolumn(
        name = "Addresses",
        type_ = "integer",
        json_path = ".status.addresses",
        description = "Addresses and ranges that the vault's firewall allows",
        priority = 1
    ),
    printcolumn(
        name = "Management",
        type_ = "string",
        json_path = ".status.managementEndpoint",
        description = "Address of the vault's management endpoint",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].reason",
        description = "Reason of the condition Programmed",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    doc = "Network firewall in front of a vault's Service: the callers that may use the vault."
)]
#[serde(rename_all = "camelCase")]
pub struct VaultNetworkPolicySpec {
    /// The vault: a Service in the policy's namespace.
    pub target_ref: TargetRef,
    /// Engines and namespaces of the vault, which give the paths of requests their meaning.
    #[serde(default)]
    pub vault: VaultDescription,
    /// `Enforced` denies requests; `Audit` forwards the requests that the network rules deny, and records them.
    #[serde(default)]
    pub mode: Mode,
    /// Action for a request that no rule and no bypass allows.
    #[serde(default)]
    pub default_action: DefaultAction,
    /// Whether trusted services are allowed, in their supported scenarios, without a network rule.
    #[serde(default)]
    pub bypass: Bypass,
    /// Restricts the bypass. Without `names`, it applies to every trusted service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_services: Option<TrustedServices>,
    /// Allowed subnets. The owner of each must consent by enabling the service endpoint.
    #[serde(default)]
    #[schemars(length(max = Limits::VIRTUAL_NETWORK_RULES_CEILING))]
    pub virtual_network_rules: Vec<VirtualNetworkRule>,
    /// Allowed public IPv4 addresses and ranges.
    #[serde(default)]
    #[schemars(length(max = Limits::IP_RULES_CEILING))]
    pub ip_rules: Vec<IpRule>,
    /// How a denied caller is refused.
    #[serde(default)]
    pub denial: Denial,
    /// Source of the client's address, to which IP rules apply.
    #[serde(default)]
    pub client_address: ClientAddress,
    /// Access to the management endpoint.
    #[serde(default)]
    pub management: Management,
    /// Settings of the proxies that enforce the policy in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// Content of the access log.
    #[serde(default)]
    pub access_log: AccessLog,
}

/// Reference to the Service of the protected vault.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Kind of the target; always `Service`.
    #[serde(default)]
    pub kind: TargetKind,
    /// Name of the Service, in the policy's namespace. It cannot be changed.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::dns_label(), validation = rules::same_target())]
    pub name: String,
    /// Port of the Service for the vault's API, for example 8200. Without it, the firewall stays at its earlier port.
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub port: u16,
}

/// Kinds that a policy can protect.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetKind {
    /// A core/v1 Service.
    #[default]
    Service,
}

/// Engines and namespaces of the vault.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VaultDescription {
    /// Dialect of the vault's API. `AzureKeyVault` has no engines, auth mounts, namespaces and token creation.
    #[serde(default)]
    pub api: VaultApi,
    /// Secret engines with their mount paths. A request to any other path is data access with an unknown operation.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub engines: Vec<Engine>,
    /// Mount paths of auth methods that have several segments, without `auth/` and without slashes at either end, for
    /// example `cluster1/k8s`. They are in the root namespace and in all listed ones. Mounts of one segment need no
    /// entry.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub auth_mounts: Vec<String>,
    /// Vault namespaces that exist. A request to any other namespace is data access with an unknown operation.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub namespaces: Vec<String>,
    /// Location of the vault; it determines where backups of the vault may be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// Dialects of vault APIs.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VaultApi {
    /// `OpenBao` and `HashiCorp` Vault.
    #[default]
    OpenBao,
    /// The API of Azure Key Vault.
    AzureKeyVault,
}

/// A secret engine mounted in the vault.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Engine {
    /// Mount path, without `/v1/` and without slashes at either end, for example `secret` or `team/kv`.
    #[schemars(length(min = 1, max = 253))]
    pub path: String,
    /// Type of the engine; it determines the operations that are recognised.
    #[serde(rename = "type")]
    pub engine_type: EngineType,
    /// Vault namespace of the mount; `*` means every listed namespace. Default: the root namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub namespace: Option<String>,
}

/// Types of secret engines.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
pub enum EngineType {
    /// Key-value, version 1.
    KvV1,
    /// Key-value, version 2.
    KvV2,
    /// Storage that is private to each token.
    Cubbyhole,
    /// Encryption as a service.
    Transit,
    /// Certificates.
    Pki,
    /// Database credentials; every operation is unknown.
    Database,
    /// Any other engine; every operation is unknown.
    Other,
}

/// Location of a vault.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Region, for example `westindia`.
    #[schemars(length(min = 1, max = 63))]
    pub region: String,
}

/// Action for a request that no rule allows.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultAction {
    /// The request is denied.
    #[default]
    Deny,
    /// The request is allowed.
    Allow,
}

impl DefaultAction {
    /// Text of the action in policies and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "Deny",
            Self::Allow => "Allow",
        }
    }
}

/// Whether trusted services are allowed without a network rule.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bypass {
    /// Every caller needs a network rule.
    #[default]
    None,
    /// Trusted services are allowed, in their supported scenarios.
    TrustedServices,
}

/// Restriction of the bypass.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TrustedServices {
    /// Names of `TrustedService` objects. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), inner(length(min = 1, max = 253)))]
    pub names: Option<Vec<String>>,
    /// Proof that the caller is the service.
    #[serde(default)]
    pub proof: Proof,
}

/// Proof that a caller is a trusted service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// The pod with the peer's address runs under the service account of the trusted service.
    #[default]
    Pod,
    /// The request has a signed token.
    Token,
    /// Both the pod and the token.
    PodAndToken,
}

impl Proof {
    /// The proof that gives this one and another.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == other {
            self
        } else {
            Self::PodAndToken
        }
    }
}

/// A rule that allows a subnet or pods; exactly one of `subnet` and `pods` is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = rules::exactly_one("subnet", "pods"))]
#[serde(rename_all = "camelCase")]
pub struct VirtualNetworkRule {
    /// A subnet of a `VirtualNetwork`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<SubnetRef>,
    /// Pods by label. Their namespace must have the label `vaultwall.dev/service-endpoint: enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// Whether the rule applies without the consent of the subnet's owner. In a rule that selects pods of other
    /// namespaces, only if the installation allows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_missing_service_endpoint: bool,
}

/// A subnet of a `VirtualNetwork`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SubnetRef {
    /// Name of the `VirtualNetwork`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::dns_subdomain())]
    pub virtual_network: String,
    /// Name of the subnet in it.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::dns_label())]
    pub name: String,
}

/// A rule that allows public IPv4 addresses; exactly one of `value` and `serviceTag` is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = rules::value_or_service_tag(),
    validation = rules::cloud_needs_service_tag()
)]
#[serde(rename_all = "camelCase")]
pub struct IpRule {
    /// Name of the rule in answers and logs, unique among the policy's IP rules. Default: the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::rule_name())]
    pub name: Option<String>,
    /// One public IPv4 address, `203.0.113.7`, or a range of /30 or shorter, `198.51.100.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 43), transform = rules::ip_rule_value)]
    pub value: Option<String>,
    /// A service tag, `Service` or `Service.Region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_tag: Option<String>,
    /// Cloud of the service tag; default `Public`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub cloud: Option<String>,
    /// Time after which the rule does not apply, such as `2027-01-31T18:00:00Z`: RFC 3339 in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 25), extend("pattern" = expires_at::PATTERN))]
    #[x_kube(validation = expires_at::existing_time())]
    pub expires_at: Option<String>,
}

/// How a denied caller is refused.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denial {
    /// The proxy answers 403 with the reason, and logs the request.
    #[default]
    Reject,
    /// A `NetworkPolicy` drops the packets before they reach the proxy.
    Drop,
}

/// Source of the client's address.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientAddress {
    /// Part of a connection or request that has the client's address.
    #[serde(default)]
    pub source: ClientAddressSource,
    /// Trusted proxies: IPv4 addresses, ranges such as `10.0.0.0/24`, or pods. Required unless the source is `Direct`.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub trusted_proxies: Vec<TrustedProxy>,
}

/// Sources of the client's address.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAddressSource {
    /// The peer of the TCP connection.
    #[default]
    Direct,
    /// The PROXY protocol header of a trusted proxy.
    ProxyProtocol,
    /// The `X-Forwarded-For` header, only from trusted proxies.
    XForwardedFor,
}

/// Content of the access log.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// Which requests are recorded. Denied requests always are.
    #[serde(default)]
    pub level: AccessLogLevel,
}

/// Which requests the access log records.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogLevel {
    /// Every request.
    #[default]
    All,
    /// Denied requests.
    Denied,
}
