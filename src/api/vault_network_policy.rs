//! `VaultNetworkPolicy`: who may reach a vault, owned by the vault's owner.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::PodSelector;

/// Who may reach a vault's data plane. Several policies on one Service add up.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "vaultwall.dev",
    version = "v1alpha1",
    kind = "VaultNetworkPolicy",
    plural = "vaultnetworkpolicies",
    shortname = "vnp",
    namespaced,
    status = "VaultNetworkPolicyStatus",
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
    /// Subnets that are let in (R2, R3).
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub virtual_network_rules: Vec<VirtualNetworkRule>,
    /// Public IPv4 addresses and ranges that are let in (R4).
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
    /// The proxies that enforce the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// What the access log records.
    #[serde(default)]
    pub access_log: AccessLog,
}

/// The protected Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Kind of the target.
    #[serde(default)]
    pub kind: TargetKind,
    /// Name of the Service, in the policy's namespace.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The Service's port of the vault's API.
    #[schemars(range(min = 1, max = 65535))]
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
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SubnetRef {
    /// Name of the `VirtualNetwork`.
    #[schemars(length(min = 1, max = 253))]
    pub virtual_network: String,
    /// Name of the subnet in it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// Lets public IPv4 addresses in: exactly one of `value` and `serviceTag`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IpRule {
    /// Name of the rule in answers and logs; unique among the policy's IP rules. Left out: the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// One public IPv4 address, `203.0.113.7`, or a range of /30 or shorter, `198.51.100.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 43))]
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
    #[schemars(length(max = 40))]
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
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClientAddress {
    /// The source of the address.
    #[serde(default)]
    pub source: ClientAddressSource,
    /// Proxies that are believed, IPv4 addresses or ranges. Required unless the source is `Direct`.
    #[serde(default)]
    #[schemars(length(max = 200), inner(length(max = 43)))]
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

/// The proxies that enforce the policy.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Number of proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<i32>,
    /// Compute resources of one proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// TLS towards clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProxyTls>,
    /// TLS towards the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_tls: Option<UpstreamTls>,
    /// The Service in front of the proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ProxyService>,
}

/// TLS towards clients.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProxyTls {
    /// Secret of type `kubernetes.io/tls`, in the policy's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// TLS towards the vault.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// Secret whose `ca.crt` signs the vault's certificate.
    #[schemars(length(min = 1, max = 253))]
    pub ca_secret_name: String,
    /// Name that the vault's certificate must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// The Service in front of the proxies.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProxyService {
    /// Type of the Service, for example `ClusterIP` or `LoadBalancer`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub service_type: Option<String>,
    /// `Local` keeps the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub external_traffic_policy: Option<String>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
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
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
