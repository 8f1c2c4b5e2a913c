//! Admission of the policies of a vault: from oldest to youngest, each is accepted unless the accepted ones together
//! would exceed a limit. A younger, smaller policy can still be accepted after one that was refused.

use ipnet::Ipv4Net;

use super::proxies;
use super::sources::{self, PolicySources};
use crate::api::{DefaultAction, Denial};
use crate::limits::{Limits, MAX_DROP_BLOCKS, MAX_RANGES};
use crate::policy::identity::VaultId;
use crate::policy::validated::ValidatedPolicy;
use crate::policy::violation::{Violation, ViolationReason};

/// A valid policy that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPolicy {
    /// Name of the policy; its namespace is the vault's.
    pub policy: String,
    /// The limit that it exceeds.
    pub violation: Violation,
}

/// Returns the accepted policies, oldest first, and the refused ones.
pub(super) fn admit<'a>(
    vault: &VaultId,
    default_action: DefaultAction,
    oldest_first: Vec<PolicySources<'a>>,
    limits: &Limits,
) -> (Vec<PolicySources<'a>>, Vec<RefusedPolicy>) {
    let mut accepted: Vec<PolicySources<'a>> = Vec::new();
    let mut refused = Vec::new();
    for candidate in oldest_first {
        let name = candidate.policy.name.clone();
        accepted.push(candidate);
        if let Some((field, message)) = exceeded(vault, default_action, &accepted, limits) {
            accepted.pop();
            refused.push(RefusedPolicy {
                policy: name,
                violation: Violation::new(field, ViolationReason::LimitExceeded, message),
            });
        }
    }
    (accepted, refused)
}

/// Returns the first limit that the policies together exceed: field and message for the youngest of them.
fn exceeded(
    vault: &VaultId,
    default_action: DefaultAction,
    policies: &[PolicySources<'_>],
    limits: &Limits,
) -> Option<(&'static str, String)> {
    let virtual_networks = |policy: &ValidatedPolicy| policy.virtual_network_rules.len();
    let ip_rules = |policy: &ValidatedPolicy| policy.ip_rules.len();
    too_many_rules(
        vault,
        policies,
        "virtual-network rules",
        limits.virtual_network_rules,
        virtual_networks,
    )
    .map(|message| ("spec.virtualNetworkRules", message))
    .or_else(|| {
        too_many_rules(vault, policies, "IP rules", limits.ip_rules, ip_rules)
            .map(|message| ("spec.ipRules", message))
    })
    .or_else(|| {
        too_many_blocks(vault, default_action, policies).map(|message| ("spec.denial", message))
    })
    .or_else(|| {
        too_many_ranges(vault, policies).map(|message| ("spec.virtualNetworkRules", message))
    })
}

fn too_many_rules(
    vault: &VaultId,
    policies: &[PolicySources<'_>],
    kind: &str,
    limit: usize,
    count: impl Fn(&ValidatedPolicy) -> usize,
) -> Option<String> {
    let (youngest, older) = policies.split_last()?;
    let before: usize = older.iter().map(|sources| count(sources.policy)).sum();
    let own = count(youngest.policy);
    // A policy without such rules cannot exceed the limit.
    (own > 0 && before + own > limit).then(|| {
        format!(
            "the vault {vault} may have at most {limit} {kind}: its accepted policies already have {before} and \
             this one has {own}; remove rules from any of them, or ask the cluster's admin for a higher limit"
        )
    })
}

/// With `Drop`, a `NetworkPolicy` lists every block.
fn too_many_blocks(
    vault: &VaultId,
    default_action: DefaultAction,
    policies: &[PolicySources<'_>],
) -> Option<String> {
    let oldest = policies.first()?.policy;
    // With `defaultAction: Allow` nothing is dropped, so the `NetworkPolicy` has no blocks.
    if oldest.denial != Denial::Drop || default_action == DefaultAction::Allow {
        return None;
    }
    let mut blocks: Vec<Ipv4Net> = policies.iter().flat_map(PolicySources::blocks).collect();
    blocks.extend(proxies::ranges(oldest));
    if blocks.len() <= MAX_DROP_BLOCKS {
        return None;
    }
    // The `NetworkPolicy` has the joined blocks: adjacent and nested ranges become one.
    let blocks = Ipv4Net::aggregate(&blocks).len();
    (blocks > MAX_DROP_BLOCKS).then(|| {
        format!(
            "with `denial: Drop` the rules of the vault {vault} need {blocks} address blocks, and a NetworkPolicy can \
             have at most {MAX_DROP_BLOCKS}; use `denial: Reject`, or fewer and wider ranges"
        )
    })
}

fn too_many_ranges(vault: &VaultId, policies: &[PolicySources<'_>]) -> Option<String> {
    // Most vaults are far below the limit, so an upper bound comes first. Merging is expensive.
    let upper_bound: usize = policies
        .iter()
        .map(PolicySources::max_virtual_network_ranges)
        .sum();
    if upper_bound <= MAX_RANGES {
        return None;
    }
    // Without their number: most of them are pods of other namespaces.
    let ranges = sources::merge(policies).virtual_networks.len();
    (ranges > MAX_RANGES).then(|| {
        format!(
            "the virtual-network rules of the vault {vault} have more addresses and ranges than Envoy accepts, at most \
             {MAX_RANGES}; use subnets with address prefixes instead of pods, or fewer rules"
        )
    })
}
