//! State of a policy object and of a vault in the index.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::api::VaultApi;
use crate::policy::{
    GroupSelector, NetworkRuleSource, ObjectName, SubnetMembers, ValidatedPolicy, ValidatedSubnet,
    ValidatedVirtualNetwork, VaultId, VirtualNetworks,
};

/// A policy object.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) vault: VaultId,
    /// Last valid form of the policy.
    pub(super) valid: Option<Arc<ValidatedPolicy>>,
    /// Port of `spec.targetRef`. If no form of the policy is valid, the port that could be read from the object.
    pub(super) port: u16,
    /// The vault's API, with the same exception.
    pub(super) api: VaultApi,
}

/// A vault that at least one policy is for.
#[derive(Debug, Default)]
pub(super) struct Vault {
    /// Its policies, which are in its namespace.
    pub(super) policies: BTreeSet<ObjectName>,
    /// Groups of pods and virtual networks that its resolution depends on.
    pub(super) groups: BTreeSet<GroupSelector>,
    pub(super) networks: BTreeSet<String>,
    /// Service accounts that its resolution depends on.
    pub(super) accounts: BTreeSet<ObjectName>,
    /// Ranges whose pods its warnings depend on.
    pub(super) ranges: BTreeSet<Ipv4Net>,
    /// Inputs of the last resolution that had an accepted policy.
    pub(super) last_accepted: Option<LastAccepted>,
}

impl Vault {
    /// Removes a deleted policy from the inputs that are kept for the case that no policy is accepted: clients that
    /// only the deleted policy allowed must not be allowed again.
    pub(super) fn remove_accepted(&mut self, policy: &str) {
        if let Some(last) = &mut self.last_accepted {
            last.policies.retain(|kept| kept.name != policy);
        }
        self.last_accepted.take_if(|last| last.policies.is_empty());
    }
}

/// Policies and networks of a resolution. The firewall itself is not kept: a pod's address may belong to another pod by
/// the time it is used again.
#[derive(Debug)]
pub(super) struct LastAccepted {
    pub(super) policies: Vec<Arc<ValidatedPolicy>>,
    pub(super) virtual_networks: VirtualNetworks,
}

impl LastAccepted {
    /// Returns the networks to resolve the kept policies with: the subnets that were open then and are still open. A
    /// subnet that grew keeps its former size, because its growth may be the reason that no policy is accepted. A
    /// subnet that its owner shrank, closed or deleted is not allowed because of its former state.
    pub(super) fn virtual_networks(&self, now: &VirtualNetworks) -> VirtualNetworks {
        let networks = self.virtual_networks.iter();
        let both = networks.filter_map(|(name, then)| Some((name, then, now.get(name)?)));
        both.map(|(name, then, now)| {
            let subnets = then.subnets.iter();
            let subnets =
                subnets.filter_map(|then| open_then_and_now(then, now.subnet(&then.name)?));
            let network = ValidatedVirtualNetwork {
                name: name.clone(),
                subnets: subnets.collect(),
            };
            (name.clone(), Arc::new(network))
        })
        .collect()
    }
}

fn open_then_and_now(then: &ValidatedSubnet, now: &ValidatedSubnet) -> Option<ValidatedSubnet> {
    let members = match (&then.members, &now.members) {
        (SubnetMembers::Prefixes(then), SubnetMembers::Prefixes(now)) => {
            let still = then
                .iter()
                .filter(|prefix| now.iter().any(|now| now.contains(*prefix)));
            SubnetMembers::Prefixes(still.copied().collect())
        }
        // Pods are always matched against the current groups.
        (SubnetMembers::Pods(then), SubnetMembers::Pods(now)) if then == now => {
            SubnetMembers::Pods(now.clone())
        }
        _ => return None,
    };
    let service_endpoint = then.service_endpoint && now.service_endpoint;
    Some(ValidatedSubnet {
        name: now.name.clone(),
        service_endpoint,
        members,
    })
}

/// Virtual network and subnet of each rule that names one.
pub(super) fn named_subnets(policy: &ValidatedPolicy) -> impl Iterator<Item = (&String, &String)> {
    policy
        .virtual_network_rules
        .iter()
        .filter_map(|rule| match &rule.source {
            NetworkRuleSource::Subnet {
                virtual_network,
                subnet,
            } => Some((virtual_network, subnet)),
            NetworkRuleSource::Pods(_) => None,
        })
}

impl PartialEq for LastAccepted {
    /// Compares by pointer: objects are replaced and never edited, and comparing their content would be expensive.
    fn eq(&self, other: &Self) -> bool {
        let networks = self.virtual_networks.values().map(Arc::as_ptr);
        let policies = self.policies.iter().map(Arc::as_ptr);
        networks.eq(other.virtual_networks.values().map(Arc::as_ptr))
            && policies.eq(other.policies.iter().map(Arc::as_ptr))
    }
}
