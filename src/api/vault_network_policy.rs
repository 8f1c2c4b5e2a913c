//! `VaultNetworkPolicy`: who may reach a vault, owned by the vault's owner.
#![expect(
    unreachable_pub,
    reason = "the derived schema repeats a struct's visibility inside a function"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "each printed column says its own type"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Management, PodSelector, Proxy, borrowed, rules};

/// Who may reach a vault's data plane. Several policies on one Service add up.
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
        description = "Service of the vault that is protected"
    ),
    printcolumn(
        name = "Default",
        type_ = "string",
        json_path = ".spec.defaultAction",
        description = "What happens to a request that nothing allows"
    ),
    printcolumn(
        name = "Proxies",
        type_ = "string",
        json_path = ".status.proxies",
        description = "Proxies that have everything in force, of those that are connected"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint",
        description = "Where clients reach the vault"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
        description = "Whether this generation of the policy is valid and within the limits"
    ),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].status",
        description = "Whether every connected proxy enforces this generation"
    ),
    printcolumn(
        name = "Resolved",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"ResolvedRefs\")].status",
        description = "Whether everything that the policy refers to is there",
        priority = 1
    ),
    printcolumn(
        name = "Conflicted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Conflicted\")].status",
        description = "Whether another policy decides some of its settings",
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
        description = "Addresses and ranges that the vault's firewall lets in",
        priority = 1
    ),
    printcolumn(
        name = "Management",
        type_ = "string",
        json_path = ".status.managementEndpoint",
        description = "Where operators reach the vault's management",
        priority = 1
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        description = "Whether denials block or are only recorded",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Programmed\")].reason",
        description = "Why it is or is not programmed",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    doc = "Who may reach a vault's data plane; the network firewall in front of a vault's Service."
)]
#[serde(rename_all = "camelCase")]
pub struct VaultNetworkPolicySpec {
    /// The vault: a Service in the policy's namespace.
    pub target_ref: TargetRef,
    /// What the vault serves and where; needed to read a request's path.
    #[serde(default)]
    pub vault: VaultDescription,
    /// `Enforced` blocks; `Audit` only records what would have been blocked.
    #[serde(default)]
    pub mode: Mode,
    /// What happens to a request that no rule allows, after every rule and the bypass.
    #[serde(default)]
    pub default_action: DefaultAction,
    /// Whether trusted services pass the network rules for their supported scenarios.
    #[serde(default)]
    pub bypass: Bypass,
    /// Narrows the bypass. `names` left out means every trusted service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_services: Option<TrustedServices>,
    /// Subnets that are let in, each with its owner's consent (the service endpoint).
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub virtual_network_rules: Vec<VirtualNetworkRule>,
    /// Public IPv4 addresses and ranges that are let in.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub ip_rules: Vec<IpRule>,
    /// How a denied caller is turned away.
    #[serde(default)]
    pub denial: Denial,
    /// Where the client's address is read from, for IP rules.
    #[serde(default)]
    pub client_address: ClientAddress,
    /// Who reaches the management endpoint.
    #[serde(default)]
    pub management: Management,
    /// The proxies that enforce the policy, in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// What the access log records.
    #[serde(default)]
    pub access_log: AccessLog,
}

/// The protected Service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Kind of the target.
    #[serde(default)]
    pub kind: TargetKind,
    /// Name of the Service, in the policy's namespace.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::dns_label())]
    pub name: String,
    /// The Service's port of the vault's API.
    #[schemars(range(min = 1, max = 65535), extend("format" = "int32"))]
    pub port: u16,
}

/// Kinds of target.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetKind {
    /// A core/v1 Service.
    #[default]
    Service,
}

/// What the vault serves and where.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VaultDescription {
    /// The API's dialect.
    #[serde(default)]
    pub api: VaultApi,
    /// Secret engines and where they are mounted. A path that belongs to none is data of an unknown operation.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub engines: Vec<Engine>,
    /// Vault namespaces that exist; others named by a request are unknown.
    #[serde(default)]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub namespaces: Vec<String>,
    /// Where the vault is; decides where its backups may be restored.
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
    /// Type of the engine.
    #[serde(rename = "type")]
    pub engine_type: EngineType,
    /// Vault namespace of the mount: none is the root, `*` is every listed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub namespace: Option<String>,
}

/// Types of secret engine whose paths are understood.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
pub enum EngineType {
    /// Key-value, version 1.
    KvV1,
    /// Key-value, version 2.
    KvV2,
    /// The per-token cubbyhole.
    Cubbyhole,
    /// Encryption as a service.
    Transit,
    /// Certificates.
    Pki,
    /// Database credentials; all operations are unknown.
    Database,
    /// Any other engine; all operations are unknown.
    Other,
}

/// Where a vault is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Region, for example `westindia`.
    #[schemars(length(min = 1, max = 63))]
    pub region: String,
}

/// Whether denials are carried out.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Denials block.
    #[default]
    Enforced,
    /// Denials are only recorded.
    Audit,
}

/// What happens to a request that nothing allows.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultAction {
    /// It is denied.
    #[default]
    Deny,
    /// It is allowed.
    Allow,
}

/// Whether trusted services pass.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bypass {
    /// Nobody passes the network rules.
    #[default]
    None,
    /// Trusted services pass, for their scenarios.
    TrustedServices,
}

/// Narrows the bypass.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TrustedServices {
    /// Names of `TrustedService` objects; left out means all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), inner(length(min = 1, max = 253)))]
    pub names: Option<Vec<String>>,
    /// How a caller proves to be the service.
    #[serde(default)]
    pub proof: Proof,
}

/// How a caller proves to be a trusted service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// The pod behind the direct address runs under the mapped service account.
    #[default]
    Pod,
    /// A signed token.
    Token,
    /// Both.
    PodAndToken,
}

/// Lets a subnet in: exactly one of `subnet` and `pods`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = rules::exactly_one("subnet", "pods"))]
#[serde(rename_all = "camelCase")]
pub struct VirtualNetworkRule {
    /// A subnet of a `VirtualNetwork`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<SubnetRef>,
    /// Pods, inline. Their namespace must carry the label `vaultwall.dev/service-endpoint: enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodSelector>,
    /// Lets the subnet in even though its owner did not opt in.
    #[serde(default)]
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

/// Lets public IPv4 addresses in: exactly one of `value` and `serviceTag`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = rules::exactly_one("value", "serviceTag"),
    validation = rules::cloud_needs_service_tag()
)]
#[serde(rename_all = "camelCase")]
pub struct IpRule {
    /// Name of the rule in answers and logs; unique among the policy's IP rules. Left out: the value.
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
    /// Cloud of the service tag; left out: Public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub cloud: Option<String>,
    /// The rule ends at this moment (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Option<String>,
}

/// How a denied caller is turned away.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denial {
    /// A 403 that says why, logged.
    #[default]
    Reject,
    /// The packets are dropped by a `NetworkPolicy`; nothing reaches the proxy.
    Drop,
}

/// Where the client's address is read from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = rules::direct_lists_no_proxies(),
    validation = rules::others_list_proxies()
)]
#[serde(rename_all = "camelCase")]
pub struct ClientAddress {
    /// The source of the address.
    #[serde(default)]
    pub source: ClientAddressSource,
    /// Proxies that are believed, IPv4 addresses or ranges. Required unless the source is `Direct`.
    #[serde(default)]
    #[schemars(length(max = 200), inner(length(max = 43)), transform = rules::trusted_proxies)]
    pub trusted_proxies: Vec<String>,
}

/// Sources of the client's address.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAddressSource {
    /// The peer of the TCP connection.
    #[default]
    Direct,
    /// The PROXY protocol header of a trusted proxy.
    ProxyProtocol,
    /// The `X-Forwarded-For` header, believed from trusted proxies only.
    XForwardedFor,
}

/// What the access log records.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccessLog {
    /// Which requests are recorded. Denials always are.
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

/// What the operator saw; written by the operator alone.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VaultNetworkPolicyStatus {
    /// The generation that the conditions speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `Conflicted`.
    #[serde(default)]
    #[schemars(length(max = 16), transform = borrowed::conditions)]
    pub conditions: Vec<Condition>,
    /// Where clients reach the vault now, `HOST:PORT`: what `VAULT_ADDR` has to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub endpoint: Option<String>,
    /// Where operators reach the vault's management, `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub management_endpoint: Option<String>,
    /// Proxies of the vault that have everything in force, of those that are connected: `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub proxies: Option<String>,
    /// How many virtual-network rules the policy has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_network_rules: Option<i64>,
    /// How many IP rules the policy has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_rules: Option<i64>,
    /// How many addresses and ranges the vault's firewall lets in, by the rules of all its policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<i64>,
    /// What the owner should know though nothing is refused for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub warnings: Vec<PolicyWarning>,
}

/// What a policy's owner should know though nothing is refused for it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyWarning {
    /// Why, in one word.
    #[schemars(length(min = 1, max = 63))]
    pub reason: String,
    /// Field path in the policy.
    #[schemars(length(max = 253))]
    pub field: String,
    /// What is so, and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
}
