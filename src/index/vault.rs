//! What the index remembers of a policy object and of a vault.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::policy::{
    GroupSelector, NetworkRuleSource, SubnetMembers, ValidatedPolicy, ValidatedSubnet,
    ValidatedVirtualNetwork, VaultId, VirtualNetworks,
};

/// A policy object as it stands.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) vault: VaultId,
    /// Its last valid form.
    pub(super) valid: Option<Arc<ValidatedPolicy>>,
    /// Port that an invalid object without a valid form names.
    pub(super) port: u16,
}

/// A vault that some policy is about.
#[derive(Debug, Default)]
pub(super) struct Vault {
    /// Names of its policies; all in its namespace.
    pub(super) policies: BTreeSet<String>,
    /// Groups and networks that its resolution depends on.
    pub(super) groups: BTreeSet<GroupSelector>,
    pub(super) networks: BTreeSet<String>,
    /// From what the last resolution with an accepted policy was made.
    pub(super) last_accepted: Option<LastAccepted>,
}

impl Vault {
    /// What is kept for the case that no policy is accepted must not let in whom a deleted policy let in.
    pub(super) fn remove_accepted(&mut self, policy: &str) {
        if let Some(last) = &mut self.last_accepted {
            last.policies.retain(|kept| kept.name != policy);
        }
        self.last_accepted.take_if(|last| last.policies.is_empty());
    }
}

/// Policies and networks of a resolution. Not the firewall itself: pods come and go, and an address that was kept could
/// meanwhile be somebody else's.
#[derive(Debug)]
pub(super) struct LastAccepted {
    pub(super) policies: Vec<Arc<ValidatedPolicy>>,
    pub(super) virtual_networks: VirtualNetworks,
}

impl LastAccepted {
    /// The networks to resolve the kept policies with: what was open then and is still open now. A subnet that grew
    /// may be why nothing is accepted any more, so it keeps its size; one that its owner shrank, closed or deleted is
    /// not let in because of what it was.
    pub(super) fn virtual_networks(&self, now: &VirtualNetworks) -> VirtualNetworks {
        let networks = self.virtual_networks.iter();
        let both = networks.filter_map(|(name, then)| Some((name, then, now.get(name)?)));
        both.map(|(name, then, now)| {
            let subnets = then.subnets.iter();
            let subnets = subnets
                .filter_map(|then| open_then_and_now(then, find_subnet(Some(now), &then.name)?));
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
        // Membership of pods is always that of now.
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

/// The subnet of a network by its name.
pub(super) fn find_subnet<'a>(
    network: Option<&'a ValidatedVirtualNetwork>,
    subnet: &str,
) -> Option<&'a ValidatedSubnet> {
    network?
        .subnets
        .iter()
        .find(|candidate| candidate.name == subnet)
}

/// Virtual network and subnet of the rules that name one.
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
    /// By identity: objects are replaced, never edited, and comparing what they hold would cost as much as they hold.
    fn eq(&self, other: &Self) -> bool {
        let networks = self.virtual_networks.values().map(Arc::as_ptr);
        let policies = self.policies.iter().map(Arc::as_ptr);
        networks.eq(other.virtual_networks.values().map(Arc::as_ptr))
            && policies.eq(other.policies.iter().map(Arc::as_ptr))
    }
}
