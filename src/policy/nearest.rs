//! The rule that almost allowed a denied caller, and the mismatch that prevented it. Pure; it makes no decision.
//!
//! The order, from nearest: a missing opt-in label of a namespace, a service endpoint that the subnet's owner did not
//! enable, a pod selector that does not match, a range next to the client's address.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::client_address::ipv4;
use super::decide::Caller;
use super::pod_group::{GroupSelector, NamespaceMembership, opt_in_label};
use super::resolve::VirtualNetworks;
use super::validated::{NetworkRule, NetworkRuleSource, PodGroup, SubnetMembers, ValidatedPolicy};

/// Smallest number of leading bits that the client's address shares with a range that is reported as near.
const NEAR_BITS: u32 = 16;

/// The pod that has the peer's address, with everything that selectors read.
#[derive(Clone, Copy, Debug)]
pub struct PodLabels<'a> {
    /// Name of the pod's namespace.
    pub namespace: &'a str,
    /// Labels of the namespace; `None` if the namespace is not known.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    /// Name of the pod, unique in its namespace.
    pub name: &'a str,
    /// Labels of the pod.
    pub labels: &'a BTreeMap<String, String>,
}

/// A rule that almost allowed the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Full name of the rule.
    pub rule: Arc<str>,
    /// The only difference between the rule and the caller.
    pub mismatch: Mismatch,
}

/// Difference between a rule and a denied caller; the nearest first. `Display` completes the sentence
/// `<rule>, but …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The rule selects the pod, but the pod's namespace has not opted in.
    OptIn {
        /// Name of the pod's namespace.
        namespace: String,
    },
    /// The caller is in the rule's subnet, but the subnet's owner has not enabled the service endpoint.
    ServiceEndpoint {
        /// Name of the `VirtualNetwork`.
        virtual_network: String,
        /// Name of the subnet in it.
        subnet: String,
    },
    /// The rule selects other pods of the same namespace.
    PodLabels {
        /// Name of the pod's namespace.
        namespace: String,
        /// The rule's pod selector, in the notation of `kubectl -l`.
        selector: String,
        /// The pod's labels, in the same notation.
        labels: String,
    },
    /// The client's address is near the rule's range.
    Range {
        /// The client's address.
        client: Ipv4Addr,
        /// The rule's range.
        prefix: Ipv4Net,
    },
}

impl Mismatch {
    /// Sort key: the smallest is the nearest.
    fn distance(&self) -> (u8, u32) {
        match self {
            Self::OptIn { .. } => (0, 0),
            Self::ServiceEndpoint { .. } => (1, 0),
            Self::PodLabels { .. } => (2, 0),
            Self::Range { client, prefix } => (3, 32 - shared_bits(*client, *prefix)),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OptIn { namespace } => write!(
                f,
                "namespace {namespace} is not labelled {}",
                opt_in_label()
            ),
            Self::ServiceEndpoint {
                virtual_network,
                subnet,
            } => write!(
                f,
                "the owner of subnet {virtual_network}/{subnet} has not enabled the Vault service endpoint"
            ),
            Self::PodLabels {
                namespace,
                selector,
                labels,
            } => write!(
                f,
                "in namespace {namespace} it selects pods with {selector}; this one has {labels}"
            ),
            Self::Range { client, prefix } => write!(f, "{client} is not in {prefix}"),
        }
    }
}

fn shared_bits(address: Ipv4Addr, prefix: Ipv4Net) -> u32 {
    (address.to_bits() ^ prefix.network().to_bits()).leading_zeros()
}

/// Returns the nearest rule, if one is near. Of equally near rules it returns the first in the order of the lists.
pub fn nearest(
    policies: &[&ValidatedPolicy],
    virtual_networks: &VirtualNetworks,
    caller: Caller,
    pod: Option<PodLabels<'_>>,
) -> Option<Nearest> {
    let mut found: Vec<Nearest> = Vec::new();
    for policy in policies {
        let own_namespace = &policy.vault.namespace;
        found.extend(policy.virtual_network_rules.iter().filter_map(|rule| {
            Some(Nearest {
                rule: rule.rule.clone(),
                mismatch: mismatch_of(rule, own_namespace, virtual_networks, caller.peer, pod)?,
            })
        }));
        found.extend(policy.ip_rules.iter().filter_map(|rule| {
            let (client, prefix) = (ipv4(caller.client)?, rule.prefix);
            (shared_bits(client, prefix) >= NEAR_BITS).then(|| Nearest {
                rule: rule.rule.clone(),
                mismatch: Mismatch::Range { client, prefix },
            })
        }));
    }
    // `min_by_key` returns the first of equal elements.
    found
        .into_iter()
        .min_by_key(|nearest| nearest.mismatch.distance())
}

fn mismatch_of(
    rule: &NetworkRule,
    own_namespace: &str,
    virtual_networks: &VirtualNetworks,
    peer: IpAddr,
    pod: Option<PodLabels<'_>>,
) -> Option<Mismatch> {
    let needs_opt_in = !rule.ignore_missing_service_endpoint;
    let (virtual_network, subnet) = match &rule.source {
        NetworkRuleSource::Pods(group) => {
            let selector = GroupSelector::of_rule(group, own_namespace, needs_opt_in);
            return mismatch_of_pods(&selector, group, pod?);
        }
        NetworkRuleSource::Subnet {
            virtual_network,
            subnet,
        } => (virtual_network, subnet),
    };
    let network = virtual_networks.get(virtual_network)?;
    let found = network.subnet(subnet)?;
    let closed = needs_opt_in && !found.service_endpoint;
    let (is_member, mismatch) = match &found.members {
        SubnetMembers::Prefixes(prefixes) => {
            let peer = ipv4(peer)?;
            (prefixes.iter().any(|prefix| prefix.contains(&peer)), None)
        }
        SubnetMembers::Pods(group) => {
            let (selector, pod) = (GroupSelector::of_subnet(group), pod?);
            let membership = selector.namespace_membership(pod.namespace_labels?);
            let is_member =
                membership == NamespaceMembership::In && selector.pods.matches(pod.labels);
            (is_member, mismatch_of_pods(&selector, group, pod))
        }
    };
    match (is_member, closed) {
        (true, true) => Some(Mismatch::ServiceEndpoint {
            virtual_network: virtual_network.clone(),
            subnet: subnet.clone(),
        }),
        (false, false) => mismatch,
        _ => None,
    }
}

fn mismatch_of_pods(
    selector: &GroupSelector,
    group: &PodGroup,
    pod: PodLabels<'_>,
) -> Option<Mismatch> {
    let namespace = pod.namespace.to_owned();
    let membership = selector.namespace_membership(pod.namespace_labels?);
    match (membership, selector.pods.matches(pod.labels)) {
        (NamespaceMembership::NotOptedIn, true) => Some(Mismatch::OptIn { namespace }),
        (NamespaceMembership::In, false) => Some(Mismatch::PodLabels {
            namespace,
            selector: selector_text(group),
            labels: labels_text(pod.labels),
        }),
        _ => None,
    }
}

/// Prints a pod selector in the notation of `kubectl -l`.
fn selector_text(group: &PodGroup) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (key, value) in group.pods.match_labels.iter().flatten() {
        parts.push(format!("{key}={value}"));
    }
    for expression in group.pods.match_expressions.iter().flatten() {
        let values = expression.values.iter().flatten().cloned();
        let values: Vec<String> = values.collect();
        let key = &expression.key;
        parts.push(match expression.operator.as_str() {
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            "In" => format!("{key} in ({})", values.join(",")),
            _ => format!("{key} notin ({})", values.join(",")),
        });
    }
    parts.join(",")
}

fn labels_text(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "no labels".into();
    }
    let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(",")
}
