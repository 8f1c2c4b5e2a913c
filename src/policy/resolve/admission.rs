//! Which policies of a vault are accepted: oldest first, each unless it takes the vault beyond a limit. A younger and
//! smaller one can still fit after one that did not.

use ipnet::Ipv4Net;

use super::RefusedPolicy;
use super::sources::{self, PolicySources};
use crate::limits::{Limits, MAX_DROP_BLOCKS, MAX_RANGES};
use crate::policy::{
    ClientAddressSource, DefaultAction, Denial, ValidatedPolicy, VaultId, Violation,
    ViolationReason,
};

/// Accepted policies, oldest first, and the refused ones.
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
            let violation = Violation {
                field: field.to_owned(),
                reason: ViolationReason::LimitExceeded,
                message,
            };
            refused.push(RefusedPolicy {
                policy: name,
                violation,
            });
        }
    }
    (accepted, refused)
}

/// The first limit that the policies together exceed: field and message for the youngest of them.
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
    what: &str,
    limit: usize,
    count: impl Fn(&ValidatedPolicy) -> usize,
) -> Option<String> {
    let (youngest, older) = policies.split_last()?;
    let before: usize = older.iter().map(|sources| count(sources.policy)).sum();
    let own = count(youngest.policy);
    // A policy that brings none cannot be what takes the vault beyond its limit.
    (own > 0 && before + own > limit).then(|| {
        format!(
            "the vault {vault} may have at most {limit} {what}: its accepted policies have {before} already and this \
             one has {own}; remove some, here or there, or ask the installation's admin for a higher limit"
        )
    })
}

/// With `Drop` every block has to be said in a `NetworkPolicy`.
fn too_many_blocks(
    vault: &VaultId,
    default_action: DefaultAction,
    policies: &[PolicySources<'_>],
) -> Option<String> {
    let oldest = policies.first()?.policy;
    // With `defaultAction: Allow` nobody is dropped, so no block is written.
    if oldest.denial != Denial::Drop || default_action == DefaultAction::Allow {
        return None;
    }
    let mut blocks: Vec<Ipv4Net> = policies.iter().flat_map(PolicySources::blocks).collect();
    if let ClientAddressSource::XForwardedFor { trusted_proxies } = &oldest.client_address {
        blocks.extend(trusted_proxies);
    }
    if blocks.len() <= MAX_DROP_BLOCKS {
        return None;
    }
    // As they are written: neighbours and ranges within ranges are joined.
    let blocks = Ipv4Net::aggregate(&blocks).len();
    (blocks > MAX_DROP_BLOCKS).then(|| {
        format!(
            "with `denial: Drop` the rules of the vault {vault} come to {blocks} address blocks, and at most \
             {MAX_DROP_BLOCKS} can be dropped at the network layer; use `denial: Reject`, or fewer and wider ranges"
        )
    })
}

fn too_many_ranges(vault: &VaultId, policies: &[PolicySources<'_>]) -> Option<String> {
    // Cheap first: most vaults are far below, and only the merged sets tell how many ranges are distinct.
    let most: usize = policies
        .iter()
        .map(PolicySources::most_virtual_network_ranges)
        .sum();
    if most <= MAX_RANGES {
        return None;
    }
    let ranges = sources::merge(policies).virtual_networks.len();
    (ranges > MAX_RANGES).then(|| {
        format!(
            "the virtual-network rules of the vault {vault} come to {ranges} addresses and ranges, and Envoy takes at \
             most {MAX_RANGES}; use prefixes of a subnet instead of single pods, or fewer rules"
        )
    })
}
