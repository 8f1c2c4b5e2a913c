#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::type_complexity
)]
//! Builders of policies, networks and pods for tests of resolution and of the index.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Inputs, Resolution, TrustedServices, VirtualNetworks, referenced_groups, resolve};
use crate::api::Proof;
use crate::limits::Limits;
use crate::policy::{
    AccessLogLevel, AccountLabels, AccountPod, Accounts, AddressRule, AddressRules,
    ClientAddressSettings, DefaultAction, Denial, ExistingAccount, GroupMembers, GroupSelector,
    IssuerKeys, ManagementAccess, Mode, NamespaceMembership, NetworkRule, NetworkRuleSource,
    ObjectName, PodGroup, PodMembership, PodsInRange, ProxyEntry, ProxySource, SubnetMembers,
    TokenCreation, ValidatedPolicy, ValidatedSubnet, ValidatedVirtualNetwork, VaultApi, VaultId,
};

/// Parses labels: `a=b,c=d`.
pub(crate) fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn select(text: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels(text)),
        match_expressions: None,
    }
}

/// Pods by label; no namespace selector is the policy's own namespace.
pub(crate) fn pods(namespaces: Option<&str>, pods: &str) -> PodGroup {
    PodGroup {
        namespaces: namespaces.map(select),
        pods: select(pods),
    }
}

pub(crate) fn vault() -> VaultId {
    VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    }
}

/// A policy on `vault/openbao` without rules, `created` on a day of January 2026.
pub(crate) fn policy(name: &str, day: u8) -> ValidatedPolicy {
    ValidatedPolicy {
        name: name.into(),
        created: Some(format!("2026-01-{day:02}T00:00:00Z")),
        vault: vault(),
        port: 8200,
        api: VaultApi::OpenBao,
        engines: Vec::new(),
        auth_mounts: Vec::new(),
        namespaces: Vec::new(),
        mode: Mode::Enforced,
        default_action: DefaultAction::Deny,
        virtual_network_rules: Vec::new(),
        ip_rules: Vec::new(),
        bypass: None,
        has_idle_settings: false,
        operators: Vec::new(),
        deployers: Vec::new(),
        proof: Proof::Pod,
        denial: Denial::Reject,
        client_address: ClientAddressSettings::Direct,
        management: ManagementAccess::Unrestricted,
        token_creation: TokenCreation::ChildTokens,
        access_log: AccessLogLevel::All,
        proxy: Box::default(),
    }
}

pub(crate) trait Build {
    fn with(self, change: impl FnOnce(&mut ValidatedPolicy)) -> Self;
    fn rule(self, source: NetworkRuleSource, ignore_missing: bool) -> Self;
    fn subnet(self, network: &str, subnet: &str) -> Self;
    fn inline(self, group: PodGroup) -> Self;
    fn ip(self, value: &str) -> Self;
    /// Trusts `X-Forwarded-For` of these proxies, too.
    fn behind(self, source: ProxySource) -> Self;
}

impl Build for ValidatedPolicy {
    fn with(mut self, change: impl FnOnce(&mut ValidatedPolicy)) -> Self {
        change(&mut self);
        self
    }

    fn rule(self, source: NetworkRuleSource, ignore_missing: bool) -> Self {
        self.with(|policy| {
            let index = policy.virtual_network_rules.len();
            let label = match &source {
                NetworkRuleSource::Subnet { subnet, .. } => subnet.clone(),
                NetworkRuleSource::Pods(_) => index.to_string(),
            };
            policy.virtual_network_rules.push(NetworkRule {
                rule: format!("{}/virtualNetworkRules/{label}", policy.name).into(),
                field: format!("spec.virtualNetworkRules[{index}]"),
                source,
                ignore_missing_service_endpoint: ignore_missing,
            });
        })
    }

    fn subnet(self, network: &str, subnet: &str) -> Self {
        self.rule(
            NetworkRuleSource::Subnet {
                virtual_network: network.into(),
                subnet: subnet.into(),
            },
            false,
        )
    }

    fn inline(self, group: PodGroup) -> Self {
        self.rule(NetworkRuleSource::Pods(group), false)
    }

    fn ip(self, value: &str) -> Self {
        self.with(|policy| {
            let rule = format!("{}/ipRules/{value}", policy.name).into();
            policy.ip_rules.push(AddressRule {
                rule,
                prefix: net(value),
            });
        })
    }

    fn behind(self, source: ProxySource) -> Self {
        self.with(|policy| {
            let mut entries = match std::mem::take(&mut policy.client_address) {
                ClientAddressSettings::Direct => Vec::new(),
                ClientAddressSettings::XForwardedFor(entries) => entries,
            };
            entries.push(ProxyEntry {
                field: format!("spec.clientAddress.trustedProxies[{}]", entries.len()),
                source,
            });
            policy.client_address = ClientAddressSettings::XForwardedFor(entries);
        })
    }
}

pub(crate) fn net(text: &str) -> Ipv4Net {
    text.parse()
        .unwrap_or_else(|_| Ipv4Net::from(text.parse::<Ipv4Addr>().unwrap()))
}

pub(crate) fn subnet(
    name: &str,
    service_endpoint: bool,
    members: SubnetMembers,
) -> ValidatedSubnet {
    ValidatedSubnet {
        name: name.into(),
        service_endpoint,
        members,
    }
}

pub(crate) fn prefixes(list: &[&str]) -> SubnetMembers {
    SubnetMembers::Prefixes(list.iter().map(|text| net(text)).collect())
}

pub(crate) fn network(name: &str, subnets: Vec<ValidatedSubnet>) -> ValidatedVirtualNetwork {
    ValidatedVirtualNetwork {
        name: name.into(),
        subnets,
    }
}

/// A simple second implementation of membership: it computes every group from lists of namespaces and pods. Tests
/// compare the index with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlainMembership {
    /// Name of a namespace → its labels.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Namespace and name of a pod → its labels and addresses.
    pub(crate) pods: BTreeMap<(String, String), (BTreeMap<String, String>, Vec<Ipv4Addr>)>,
}

impl PlainMembership {
    pub(crate) fn members(&self, group: &GroupSelector) -> GroupMembers {
        let mut members = GroupMembers::default();
        for (name, labels) in &self.namespaces {
            match group.namespace_membership(labels) {
                NamespaceMembership::In => members.namespaces.insert(name.clone()),
                NamespaceMembership::NotOptedIn => members.not_opted_in.insert(name.clone()),
                NamespaceMembership::Out => false,
            };
        }
        let mut inside: HashMap<Ipv4Addr, Vec<bool>> = HashMap::new();
        for ((namespace, _), (labels, addresses)) in &self.pods {
            let is_member = members.namespaces.contains(namespace) && group.pods.matches(labels);
            for address in addresses {
                inside.entry(*address).or_default().push(is_member);
            }
        }
        for (address, claims) in inside {
            if claims.iter().all(|is_member| *is_member) {
                members.addresses.insert(address);
            } else if claims.contains(&true) {
                members.contested.insert(address);
            }
        }
        members
    }

    /// Resolves `policies` of [`vault`].
    pub(crate) fn resolve(
        &self,
        policies: &[ValidatedPolicy],
        networks: &[ValidatedVirtualNetwork],
        limits: Limits,
        unreadable: &[String],
    ) -> Resolution {
        self.resolve_for(&vault(), policies, networks, limits, unreadable)
    }

    /// Resolves `policies` of a vault.
    pub(crate) fn resolve_for(
        &self,
        vault: &VaultId,
        policies: &[ValidatedPolicy],
        networks: &[ValidatedVirtualNetwork],
        limits: Limits,
        unreadable: &[String],
    ) -> Resolution {
        let policies: Vec<_> = policies.iter().cloned().map(Arc::new).collect();
        let networks = networks
            .iter()
            .map(|network| (network.name.clone(), Arc::new(network.clone())));
        let virtual_networks: VirtualNetworks = networks.collect();
        let groups = policies
            .iter()
            .flat_map(|policy| referenced_groups(policy, &virtual_networks));
        let known: HashMap<_, _> = groups
            .map(|group| (group.clone(), self.members(&group)))
            .collect();
        resolve(&Inputs {
            vault,
            port: 8200,
            api: VaultApi::OpenBao,
            policies: &policies,
            unreadable,
            virtual_networks: &virtual_networks,
            membership: &Known(self, known),
            trusted_services: &TrustedServices::new(),
            accounts: &NoAccounts,
            account_labels: AccountLabels::default(),
            keys: &IssuerKeys::default(),
            limits: &limits,
        })
    }
}

/// A cluster without service accounts and subscriptions.
struct NoAccounts;

impl Accounts for NoAccounts {
    fn existing(&self, _: &ObjectName) -> Option<&ExistingAccount> {
        None
    }

    fn pods_of(&self, _: &ObjectName) -> Vec<AccountPod> {
        Vec::new()
    }

    fn subscription_of(&self, _: &str) -> Option<&str> {
        None
    }

    fn namespaces_of(&self, _: &str) -> Vec<&str> {
        Vec::new()
    }
}

struct Known<'a>(&'a PlainMembership, HashMap<GroupSelector, GroupMembers>);

impl PodMembership for Known<'_> {
    fn members(&self, group: &GroupSelector) -> Option<&GroupMembers> {
        self.1.get(group)
    }

    fn pods_in(&self, range: Ipv4Net, own_namespace: &str) -> PodsInRange {
        let pods = self.0.pods.iter();
        let mut inside: Vec<(Ipv4Addr, ObjectName)> = pods
            .filter_map(|((namespace, name), (_, addresses))| {
                let mut addresses = addresses.iter().filter(|one| range.contains(*one));
                let name = ObjectName {
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                Some((*addresses.next()?, name))
            })
            .collect();
        inside.sort();
        let mut names = inside.into_iter().map(|(_, name)| name);
        PodsInRange {
            is_own: names.clone().any(|name| name.namespace == own_namespace),
            first: names.by_ref().take(PodsInRange::MOST).collect(),
        }
    }
}

/// Prints the rules, a prefix a line: `10.1.1.1 a/virtualNetworkRules/0`.
pub(crate) fn lines(rules: &AddressRules) -> Vec<String> {
    let text = |prefix: &Ipv4Net| {
        if prefix.prefix_len() == 32 {
            prefix.addr().to_string()
        } else {
            prefix.to_string()
        }
    };
    rules
        .0
        .iter()
        .map(|(prefix, rule)| format!("{} {rule}", text(prefix)))
        .collect()
}
