//! Trusted proxies: the current addresses of the pods that the policy in force lists, and a warning about ranges in
//! which any pod is one.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::diagnostic::{Diagnostic, DiagnosticReason};
use super::found::{Contested, Found, contested};
use super::inputs::Inputs;
use crate::limits::MAX_TRUSTED_PODS;
use crate::policy::model::{ClientAddressSource, Peer, TrustedProxies};
use crate::policy::pod_group::{GroupMembers, GroupSelector, PodMembership, PodsInRange};
use crate::policy::validated::{ClientAddressSettings, ProxyEntry, ProxySource, ValidatedPolicy};

/// Number of pods that a warning names.
const EXAMPLES: usize = 2;

/// Resolves the source of the client's address of the policy in force. An entry whose pods are not known trusts none.
pub(super) fn client_address<M: PodMembership>(
    policy: &ValidatedPolicy,
    inputs: &Inputs<'_, M>,
    found: &mut Found,
) -> ClientAddressSource {
    let ClientAddressSettings::XForwardedFor(entries) = &policy.client_address else {
        return ClientAddressSource::Direct;
    };
    let own_namespace = &policy.vault.namespace;
    let mut trusted_proxies = TrustedProxies::default();
    for entry in entries {
        match &entry.source {
            ProxySource::Range(range) => {
                trusted_proxies.ranges.push(*range);
                if is_wide(*range) {
                    let pods = inputs.membership.pods_in(*range, own_namespace);
                    let warning = holds_pods(policy, entry, *range, &pods);
                    found.warn(pods.is_own, warning);
                }
            }
            ProxySource::Pods(group) => {
                let group = GroupSelector::of_proxies(group, own_namespace);
                let (namespaces, pods) = group.peer_selectors();
                let selectors = namespaces.to_label_selector().zip(pods.to_label_selector());
                let peer = selectors.map(|(namespaces, pods)| Peer::Pods { namespaces, pods });
                trusted_proxies.peers.extend(peer);
                if let Some(members) = inputs.membership.members(&group) {
                    trusted_proxies.pods.extend(&members.addresses);
                    let is_own = group.only_namespace() == Some(own_namespace);
                    let warning = contested(policy, &entry.field, Contested::Proxies, members);
                    found.warn(is_own, warning);
                }
            }
        }
    }
    if trusted_proxies.pods.len() > MAX_TRUSTED_PODS {
        trusted_proxies.pods.clear();
        found.warnings.push(too_many(policy));
    }
    ClientAddressSource::XForwardedFor { trusted_proxies }
}

/// Everything that a policy lists as a proxy. A pod of it proves no identity by its address, because it sends the
/// requests of others; also if it is not trusted, or shares its address, or if too many pods are selected.
pub(super) struct ListedProxies<'a> {
    ranges: Vec<Ipv4Net>,
    groups: Vec<&'a GroupMembers>,
}

impl<'a> ListedProxies<'a> {
    pub(super) fn of<M: PodMembership>(policy: &ValidatedPolicy, inputs: &Inputs<'a, M>) -> Self {
        let membership = inputs.membership;
        Self {
            ranges: ranges(policy).collect(),
            groups: groups(policy)
                .filter_map(|group| membership.members(&group))
                .collect(),
        }
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        let is_member = |members: &&GroupMembers| {
            members.addresses.contains(&address) || members.contested.contains(&address)
        };
        self.ranges.iter().any(|range| range.contains(&address))
            || self.groups.iter().any(is_member)
    }
}

/// Reports that no selected pod is trusted. The policy is not refused: pods of others that start must not take away
/// what its rules allow. Without their number, which is about pods of other namespaces.
fn too_many(policy: &ValidatedPolicy) -> Diagnostic {
    Diagnostic {
        policy: policy.name.clone(),
        reason: DiagnosticReason::TooManyTrustedPods,
        field: "spec.clientAddress.trustedProxies".to_owned(),
        message: format!(
            "the entries select more than {MAX_TRUSTED_PODS} addresses of pods, the most that a firewall can trust, so \
             no selected pod is trusted; listed addresses and ranges are. Select only the pods of the proxy"
        ),
        detail: String::new(),
    }
}

/// Whether a range has more than one address. A single address is a decision about one proxy.
fn is_wide(range: Ipv4Net) -> bool {
    range.prefix_len() < 32
}

/// Reports pods in a trusted range. The message is the same whatever pods other namespaces have.
fn holds_pods(
    policy: &ValidatedPolicy,
    entry: &ProxyEntry,
    range: Ipv4Net,
    pods: &PodsInRange,
) -> Option<Diagnostic> {
    if pods.first.is_empty() {
        return None;
    }
    let examples = pods.first.iter().take(EXAMPLES).map(ToString::to_string);
    let examples = examples.collect::<Vec<_>>().join(" and ");
    let count = match pods.first.len() {
        1 => format!("1 pod: {examples}"),
        PodsInRange::MOST => format!("{} or more pods, for example {examples}", PodsInRange::MOST),
        count => format!("{count} pods, for example {examples}"),
    };
    let whose = if pods.is_own {
        "pods of this namespace have"
    } else {
        "pods have"
    };
    Some(Diagnostic {
        policy: policy.name.clone(),
        reason: DiagnosticReason::TrustedRangeHoldsPods,
        field: entry.field.clone(),
        message: format!(
            "{whose} addresses in the range {range}, and each of them can send any client address in X-Forwarded-For; \
             list the proxy's pods instead of the range: trustedProxies: [{{pods: {{namespaceSelector: {{...}}, \
             podSelector: {{...}}}}}}]"
        ),
        detail: count,
    })
}

/// Groups of pods that a policy lists as proxies.
pub(super) fn groups(policy: &ValidatedPolicy) -> impl Iterator<Item = GroupSelector> {
    entries(policy).filter_map(|entry| match &entry.source {
        ProxySource::Pods(group) => Some(GroupSelector::of_proxies(group, &policy.vault.namespace)),
        ProxySource::Range(_) => None,
    })
}

/// Addresses and ranges that a policy lists as proxies.
pub(super) fn ranges(policy: &ValidatedPolicy) -> impl Iterator<Item = Ipv4Net> {
    entries(policy).filter_map(|entry| match &entry.source {
        ProxySource::Range(range) => Some(*range),
        ProxySource::Pods(_) => None,
    })
}

/// Ranges whose pods a policy's resolution depends on, so that the implementation of [`PodMembership`] can watch them.
pub fn referenced_ranges(policy: &ValidatedPolicy) -> impl Iterator<Item = Ipv4Net> {
    ranges(policy).filter(|range| is_wide(*range))
}

fn entries(policy: &ValidatedPolicy) -> impl Iterator<Item = &ProxyEntry> {
    match &policy.client_address {
        ClientAddressSettings::Direct => &[][..],
        ClientAddressSettings::XForwardedFor(entries) => entries,
    }
    .iter()
}
