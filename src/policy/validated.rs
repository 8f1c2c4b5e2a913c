//! Objects that passed validation. Only [`super::validate`] makes them, so each of them satisfies every rule.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::identity::VaultId;
use super::proxy_settings::ProxySettings;
use super::trusted_service::ServiceIdentity;
use crate::api::{
    AccessLogLevel, DefaultAction, Denial, ManagementAccess, Mode, Proof, TokenCreation, VaultApi,
};
use crate::vault_api::Engine;

/// A valid `VaultNetworkPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedPolicy {
    /// Name of the policy; its namespace is the vault's.
    pub name: String,
    /// Creation time, RFC 3339 in UTC, so that it sorts as text. `None` for a file without
    /// `metadata.creationTimestamp`; it sorts first.
    pub created: Option<String>,
    /// The protected vault: the policy's namespace and `spec.targetRef.name`.
    pub vault: VaultId,
    /// Port of the Service for the vault's API.
    pub port: u16,
    /// Dialect of the vault's API.
    pub api: VaultApi,
    /// Engines of `spec.vault.engines`, with valid mount paths.
    pub engines: Vec<Engine>,
    /// Mount paths of auth methods of `spec.vault.authMounts`, valid.
    pub auth_mounts: Vec<String>,
    /// Listed vault namespaces, without slashes at either end.
    pub namespaces: Vec<String>,
    /// Whether denials by the network rules are enforced.
    pub mode: Mode,
    /// Action for a request that no rule allows.
    pub default_action: DefaultAction,
    /// Virtual-network rules, in list order.
    pub virtual_network_rules: Vec<NetworkRule>,
    /// IP rules, in list order.
    pub ip_rules: Vec<AddressRule>,
    /// Services that the bypass lets in; `None` without a bypass.
    pub bypass: Option<BypassSettings>,
    /// Whether `spec.trustedServices` has settings that have no effect without a bypass.
    pub has_idle_settings: bool,
    /// Identities that may use critical operations.
    pub operators: Vec<ServiceIdentity>,
    /// Identities that may write secrets and keys through the management endpoint.
    pub deployers: Vec<ServiceIdentity>,
    /// Proof that an identity in this policy, or of a service that it lets in, has to give.
    pub proof: Proof,
    /// How a denied caller is refused.
    pub denial: Denial,
    /// Source of the client's address.
    pub client_address: ClientAddressSettings,
    /// Which network rules apply to the management endpoint.
    pub management: ManagementAccess,
    /// Tokens that the management endpoint may hand out.
    pub token_creation: TokenCreation,
    /// Which requests the access log records.
    pub access_log: AccessLogLevel,
    /// Settings of the proxies.
    pub proxy: Box<ProxySettings>,
}

/// Services that a bypass lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BypassSettings {
    /// Names of `TrustedService`s; `None` means every one.
    pub names: Option<BTreeSet<String>>,
}

impl BypassSettings {
    /// Whether it lets a service in.
    pub fn lets_in(&self, service: &str) -> bool {
        let names = self.names.as_ref();
        names.is_none_or(|names| names.contains(service))
    }
}

/// Source of the client's address, to which IP rules apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ClientAddressSettings {
    /// The peer of the connection.
    #[default]
    Direct,
    /// The `X-Forwarded-For` header of the listed proxies, at least one.
    XForwardedFor(Vec<ProxyEntry>),
}

/// An entry of the list of trusted proxies.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyEntry {
    /// Field path in the policy, `spec.clientAddress.trustedProxies[0]`.
    pub field: String,
    /// The proxies.
    pub source: ProxySource,
}

/// Trusted proxies.
#[derive(Clone, Debug, PartialEq)]
pub enum ProxySource {
    /// Addresses that a peer can have; a single address is a /32.
    Range(Ipv4Net),
    /// Pods. Their namespaces need no opt-in.
    Pods(PodGroup),
}

/// A virtual-network rule.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRule {
    /// Full name, `<policy>/virtualNetworkRules/<subnet or index>`.
    pub rule: Arc<str>,
    /// Field path in the policy, `spec.virtualNetworkRules[0]`.
    pub field: String,
    /// Callers that it allows.
    pub source: NetworkRuleSource,
    /// Whether the rule applies without the opt-in of the subnet's owner.
    pub ignore_missing_service_endpoint: bool,
}

/// Callers that a virtual-network rule allows.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkRuleSource {
    /// A subnet of a `VirtualNetwork`.
    Subnet {
        /// Name of the `VirtualNetwork`.
        virtual_network: String,
        /// Name of the subnet in it.
        subnet: String,
    },
    /// Pods, selected in the rule itself.
    Pods(PodGroup),
}

/// Pods by label: a `NetworkPolicyPeer` with its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct PodGroup {
    /// Selects namespaces; `None` is the policy's own namespace (not in subnets).
    pub namespaces: Option<LabelSelector>,
    /// Selects pods in these namespaces; an empty selector selects all.
    pub pods: LabelSelector,
}

/// A valid IP rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressRule {
    /// Full name, `<policy>/ipRules/<name or value>`.
    pub rule: Arc<str>,
    /// The public addresses; a single address is a /32.
    pub prefix: Ipv4Net,
}

/// A valid `VirtualNetwork`.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedVirtualNetwork {
    /// Name of the network, unique in the cluster.
    pub name: String,
    /// Subnets with unique names.
    pub subnets: Vec<ValidatedSubnet>,
}

impl ValidatedVirtualNetwork {
    /// The subnet with this name, if the network has it.
    pub fn subnet(&self, name: &str) -> Option<&ValidatedSubnet> {
        self.subnets.iter().find(|subnet| subnet.name == name)
    }
}

/// A subnet of a valid `VirtualNetwork`.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedSubnet {
    /// Name of the subnet, unique in its network.
    pub name: String,
    /// Whether its owner enabled the vault's service endpoint.
    pub service_endpoint: bool,
    /// Pods or prefixes that belong to it.
    pub members: SubnetMembers,
}

/// Members of a subnet.
#[derive(Clone, Debug, PartialEq)]
pub enum SubnetMembers {
    /// Pods; `namespaces` is always present.
    Pods(PodGroup),
    /// Private, shared or loopback prefixes.
    Prefixes(Vec<Ipv4Net>),
}
