//! Objects that passed validation. Only [`super::validate`] makes them, so holding one proves that every rule held.

use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{
    AccessLogLevel, ClientAddressSource, DefaultAction, Denial, Engine, ManagementAccess,
    ProxySettings, VaultApi, VaultId,
};

/// A `VaultNetworkPolicy` that can be enforced.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedPolicy {
    /// Name of the policy; its namespace is the vault's.
    pub name: String,
    /// Creation time, RFC 3339 in UTC (so it sorts as text); none for a file that does not say it, which sorts first.
    pub created: Option<String>,
    /// The protected vault.
    pub vault: VaultId,
    /// The Service's port of the vault's API.
    pub port: u16,
    /// Dialect of the vault's API.
    pub api: VaultApi,
    /// Mounted engines.
    pub engines: Vec<Engine>,
    /// Listed vault namespaces, without slashes at either end.
    pub namespaces: Vec<String>,
    /// What happens to a request that nothing allows.
    pub default_action: DefaultAction,
    /// Virtual-network rules, in list order.
    pub virtual_network_rules: Vec<NetworkRule>,
    /// IP rules, in list order.
    pub ip_rules: Vec<AddressRule>,
    /// How a denied caller is turned away.
    pub denial: Denial,
    /// How the client's address is found.
    pub client_address: ClientAddressSource,
    /// Network rules on the management endpoint.
    pub management: ManagementAccess,
    /// What the access log records.
    pub access_log: AccessLogLevel,
    /// How its proxies are run.
    pub proxy: Box<ProxySettings>,
}

/// A virtual-network rule.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRule {
    /// Full name, `<policy>/virtualNetworkRules/<subnet or index>`.
    pub rule: Arc<str>,
    /// Field path in the policy, `spec.virtualNetworkRules[0]`.
    pub field: String,
    /// Whom it lets in.
    pub source: NetworkRuleSource,
    /// Lets the subnet in even though its owner did not opt in.
    pub ignore_missing_service_endpoint: bool,
}

/// Whom a virtual-network rule lets in.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkRuleSource {
    /// A subnet of a `VirtualNetwork`.
    Subnet {
        /// Name of the `VirtualNetwork`.
        virtual_network: String,
        /// Name of the subnet in it.
        subnet: String,
    },
    /// Inline pods.
    Pods(PodGroup),
}

/// Pods by label; a `NetworkPolicyPeer` with its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct PodGroup {
    /// Selects namespaces; none is the policy's own namespace (inline rules only).
    pub namespaces: Option<LabelSelector>,
    /// Selects pods in them; an empty selector selects all.
    pub pods: LabelSelector,
}

/// An IP rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressRule {
    /// Full name, `<policy>/ipRules/<name or value>`.
    pub rule: Arc<str>,
    /// The public addresses; a single address is a /32.
    pub prefix: Ipv4Net,
}

/// A `VirtualNetwork` whose subnets can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedVirtualNetwork {
    /// Name of the network.
    pub name: String,
    /// Its subnets, names unique.
    pub subnets: Vec<ValidatedSubnet>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedSubnet {
    /// Name of the subnet.
    pub name: String,
    /// Whether its owner enabled the vault's service endpoint.
    pub service_endpoint: bool,
    /// What it is made of.
    pub members: SubnetMembers,
}

/// What a subnet is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum SubnetMembers {
    /// Pods; `namespaces` is always given.
    Pods(PodGroup),
    /// Private, shared or loopback prefixes.
    Prefixes(Vec<Ipv4Net>),
}
