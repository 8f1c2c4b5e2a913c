//! Sources that the rules of policies allow: looked up for each policy, then merged into the sets of one firewall.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::diagnostic::{Diagnostic, DiagnosticReason};
use super::found::{Contested, Found, contested};
use super::inputs::{Inputs, VirtualNetworks};
use super::proxies;
use crate::api::{SERVICE_ENDPOINT_ENABLED, SERVICE_ENDPOINT_LABEL};
use crate::policy::model::{AddressRules, Peer};
use crate::policy::pod_group::{GroupMembers, GroupSelector, PodMembership};
use crate::policy::selector::Selector;
use crate::policy::validated::{NetworkRule, NetworkRuleSource, SubnetMembers, ValidatedPolicy};

/// A policy and the source of each of its virtual-network rules.
pub(super) struct PolicySources<'a> {
    pub(super) policy: &'a ValidatedPolicy,
    pub(super) virtual_networks: Vec<(&'a Arc<str>, Source<'a>)>,
}

/// Callers that one virtual-network rule allows.
pub(super) enum Source<'a> {
    Pods {
        group: GroupSelector,
        members: Option<&'a GroupMembers>,
    },
    Prefixes(&'a [Ipv4Net]),
    Unresolved,
}

impl<'a> PolicySources<'a> {
    /// Looks up the objects that the rules refer to. A rule that cannot be resolved allows nothing and is reported.
    pub(super) fn find<M: PodMembership>(
        policy: &'a ValidatedPolicy,
        inputs: &Inputs<'a, M>,
        found: &mut Found,
    ) -> Self {
        let mut virtual_networks = Vec::new();
        for rule in &policy.virtual_network_rules {
            let source = match locate(rule, policy, inputs.virtual_networks) {
                Ok(Located::Prefixes(prefixes)) => Source::Prefixes(prefixes),
                Ok(Located::Pods(group)) => Source::Pods {
                    members: inputs.membership.members(&group),
                    group,
                },
                Err(missing) => {
                    found.unresolved.push(missing.diagnostic(policy, rule));
                    Source::Unresolved
                }
            };
            if let Source::Pods {
                members: Some(members),
                group,
            } = &source
            {
                let is_own = group.only_namespace() == Some(&policy.vault.namespace);
                found.warn(
                    is_own,
                    contested(policy, &rule.field, Contested::Rule, members),
                );
                if group.opt_in
                    && let Some(namespaces) = members.missing_opt_in()
                {
                    let missing = Missing::OptIn { namespaces, is_own };
                    found.unresolved.push(missing.diagnostic(policy, rule));
                }
            }
            virtual_networks.push((&rule.rule, source));
        }
        Self {
            policy,
            virtual_networks,
        }
    }

    /// Upper bound of the number of addresses and prefixes of the virtual-network rules.
    pub(super) fn max_virtual_network_ranges(&self) -> usize {
        self.virtual_networks
            .iter()
            .map(|(_, source)| source.ranges().count())
            .sum()
    }

    /// Address blocks of all rules, for a `NetworkPolicy`.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Ipv4Net> {
        let subnets = self
            .virtual_networks
            .iter()
            .flat_map(|(_, source)| source.prefixes().iter().copied());
        subnets.chain(self.policy.ip_rules.iter().map(|rule| rule.prefix))
    }
}

impl Source<'_> {
    fn prefixes(&self) -> &[Ipv4Net] {
        match self {
            Self::Prefixes(prefixes) => prefixes,
            Self::Pods { .. } | Self::Unresolved => &[],
        }
    }

    fn ranges(&self) -> impl Iterator<Item = Ipv4Net> {
        let members = match self {
            Self::Pods { members, .. } => *members,
            Self::Prefixes(_) | Self::Unresolved => None,
        };
        let pods = members
            .into_iter()
            .flat_map(|members| members.addresses.iter());
        pods.map(|address| Ipv4Net::from(*address))
            .chain(self.prefixes().iter().copied())
    }
}

/// Reason why a rule allows no client.
enum Missing<'a> {
    VirtualNetwork(&'a str),
    Subnet {
        virtual_network: &'a str,
        subnet: &'a str,
    },
    ServiceEndpoint {
        virtual_network: &'a str,
        subnet: &'a str,
    },
    OptIn {
        namespaces: String,
        /// Whether the rule selects the policy's own namespace alone.
        is_own: bool,
    },
}

impl Missing<'_> {
    fn diagnostic(&self, policy: &ValidatedPolicy, rule: &NetworkRule) -> Diagnostic {
        let (reason, member, message) = match self {
            Self::VirtualNetwork(name) => (
                DiagnosticReason::VirtualNetworkNotFound,
                "subnet.virtualNetwork",
                format!(
                    "there is no valid VirtualNetwork `{name}`, so this rule allows no caller; create it or \
                     correct the name"
                ),
            ),
            Self::Subnet {
                virtual_network,
                subnet,
            } => (
                DiagnosticReason::SubnetNotFound,
                "subnet.name",
                format!(
                    "VirtualNetwork `{virtual_network}` has no subnet `{subnet}`, so this rule allows no caller; \
                     correct the name or ask the network's owner to add it"
                ),
            ),
            Self::ServiceEndpoint {
                virtual_network,
                subnet,
            } => (
                DiagnosticReason::ServiceEndpointMissing,
                "subnet",
                format!(
                    "the owner of subnet `{virtual_network}/{subnet}` has not enabled the Vault service endpoint, so \
                     this rule allows no caller; ask the owner to add `Vault` to its `serviceEndpoints`"
                ),
            ),
            Self::OptIn { is_own: true, .. } => (
                DiagnosticReason::NotOptedIn,
                "pods",
                format!(
                    "the policy's own namespace has not opted in, so this rule allows no caller; ask the cluster's \
                     admin to run `kubectl label namespace NAMESPACE \
                     {SERVICE_ENDPOINT_LABEL}={SERVICE_ENDPOINT_ENABLED}`"
                ),
            ),
            // The same text whether there are such namespaces or not.
            Self::OptIn { .. } => (
                DiagnosticReason::NotOptedIn,
                "pods",
                format!(
                    "this rule selects no namespace that has opted in, so it allows no caller; correct the selector, \
                     or ask the cluster's admin to run `kubectl label namespace NAMESPACE \
                     {SERVICE_ENDPOINT_LABEL}={SERVICE_ENDPOINT_ENABLED}` for the clients' namespaces"
                ),
            ),
        };
        let detail = match self {
            Self::OptIn { namespaces, .. } if namespaces.is_empty() => {
                "it selects no namespace".to_owned()
            }
            Self::OptIn { namespaces, .. } => format!("it selects {namespaces}"),
            _ => String::new(),
        };
        Diagnostic {
            policy: policy.name.clone(),
            reason,
            field: format!("{}.{member}", rule.field),
            message,
            detail,
        }
    }
}

/// Source of a rule, after its references are looked up.
enum Located<'a> {
    Pods(GroupSelector),
    Prefixes(&'a [Ipv4Net]),
}

fn locate<'a>(
    rule: &'a NetworkRule,
    policy: &ValidatedPolicy,
    virtual_networks: &'a VirtualNetworks,
) -> Result<Located<'a>, Missing<'a>> {
    let ignore_missing = rule.ignore_missing_service_endpoint;
    match &rule.source {
        NetworkRuleSource::Pods(group) => {
            let own_namespace = &policy.vault.namespace;
            Ok(Located::Pods(GroupSelector::of_rule(
                group,
                own_namespace,
                !ignore_missing,
            )))
        }
        NetworkRuleSource::Subnet {
            virtual_network,
            subnet,
        } => {
            let network = virtual_networks.get(virtual_network);
            let network = network.ok_or(Missing::VirtualNetwork(virtual_network))?;
            let found = network.subnet(subnet).ok_or(Missing::Subnet {
                virtual_network,
                subnet,
            })?;
            if !found.service_endpoint && !ignore_missing {
                return Err(Missing::ServiceEndpoint {
                    virtual_network,
                    subnet,
                });
            }
            Ok(match &found.members {
                SubnetMembers::Prefixes(prefixes) => Located::Prefixes(prefixes),
                SubnetMembers::Pods(group) => Located::Pods(GroupSelector::of_subnet(group)),
            })
        }
    }
}

/// Groups of pods that a policy uses, in rules and as trusted proxies, so that the implementation of [`PodMembership`]
/// can track their members. A rule that cannot be resolved uses none.
pub fn referenced_groups(
    policy: &ValidatedPolicy,
    virtual_networks: &VirtualNetworks,
) -> BTreeSet<GroupSelector> {
    let located = policy
        .virtual_network_rules
        .iter()
        .map(|rule| locate(rule, policy, virtual_networks));
    located
        .filter_map(|located| match located {
            Ok(Located::Pods(group)) => Some(group),
            Ok(Located::Prefixes(_)) | Err(_) => None,
        })
        .chain(proxies::groups(policy))
        .collect()
}

/// Sets of one firewall.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) virtual_networks: AddressRules,
    pub(super) ip_rules: AddressRules,
    pub(super) peers: Vec<Peer>,
}

/// Sort key of peers, independent of their rules, so that the same sources always make the same list.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum PeerKey {
    /// Selectors of namespaces and pods.
    Pods(Selector, Selector),
    Block(Ipv4Net),
}

impl PeerKey {
    /// Converts the key to its peer. Returns `None` if the selectors cannot have a member.
    fn peer(&self) -> Option<Peer> {
        Some(match self {
            Self::Pods(namespaces, pods) => Peer::Pods {
                namespaces: namespaces.to_label_selector()?,
                pods: pods.to_label_selector()?,
            },
            Self::Block(prefix) => Peer::Block(*prefix),
        })
    }
}

/// Merges the sources of all policies. The first rule that claims a prefix keeps it, so the rules are sorted by their
/// place in the list and, at the same place, by the age of the policy.
pub(super) fn merge(oldest_first: &[PolicySources<'_>]) -> Merged {
    let mut merged = Merged::default();
    let mut peers = BTreeSet::new();

    let rules = by_place(
        oldest_first
            .iter()
            .map(|sources| sources.virtual_networks.as_slice()),
    );
    for (rule, source) in rules {
        for prefix in source.ranges() {
            merged.virtual_networks.claim(prefix, rule);
        }
        if let Source::Pods { group, .. } = source {
            let (namespaces, pods) = group.peer_selectors();
            peers.insert(PeerKey::Pods(namespaces, pods));
        }
        for prefix in source.prefixes() {
            peers.insert(PeerKey::Block(prefix.trunc()));
        }
    }
    for rule in by_place(
        oldest_first
            .iter()
            .map(|sources| sources.policy.ip_rules.as_slice()),
    ) {
        merged.ip_rules.claim(rule.prefix, &rule.rule);
        peers.insert(PeerKey::Block(rule.prefix.trunc()));
    }
    merged.peers = peers.iter().filter_map(PeerKey::peer).collect();
    merged
}

/// Returns the first item of every list, then the second of every list, and so on.
fn by_place<'a, T>(lists: impl Iterator<Item = &'a [T]>) -> Vec<&'a T> {
    let mut placed: Vec<(usize, &T)> = lists.flat_map(|list| list.iter().enumerate()).collect();
    // The sort is stable: at one place the lists keep their order.
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, item)| item).collect()
}
