//! Groups of pods: normalised selectors, and the members that the index reports to resolution. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::identity::ObjectName;
use super::selector::Selector;
use super::validated::PodGroup;
use crate::api::{NAMESPACE_NAME_LABEL, SERVICE_ENDPOINT_ENABLED, SERVICE_ENDPOINT_LABEL};

/// Selectors of a group of pods, independent of the policy that they come from. It is the key of the index's membership
/// cache, so equal groups of several policies are stored once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupSelector {
    /// Selects namespaces by their labels.
    pub namespaces: Selector,
    /// Selects pods in these namespaces.
    pub pods: Selector,
    /// Whether the namespace must also have the opt-in label of the vault's service endpoint.
    pub opt_in: bool,
}

/// Membership of a namespace in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceMembership {
    /// Selected; its pods can be members.
    In,
    /// Selected, but without the opt-in label that the group requires.
    NotOptedIn,
    /// Not selected.
    Out,
}

impl GroupSelector {
    /// Builds the group of an inline rule. Without a namespace selector, it selects `own_namespace`.
    pub fn of_rule(group: &PodGroup, own_namespace: &str, opt_in: bool) -> Self {
        let namespaces = match &group.namespaces {
            Some(selector) => Selector::new(selector),
            None => Selector::label(NAMESPACE_NAME_LABEL, own_namespace),
        };
        Self {
            namespaces,
            pods: Selector::new(&group.pods),
            opt_in,
        }
    }

    /// Builds the group of trusted proxies: their namespaces need no opt-in, because no proxy is let in by its address.
    pub fn of_proxies(group: &PodGroup, own_namespace: &str) -> Self {
        Self::of_rule(group, own_namespace, false)
    }

    /// Builds the group of a subnet. Its owner opts in on the subnet, so the namespaces need no label. A
    /// `VirtualNetwork` has no namespace: without a namespace selector, which validation refuses, the group is empty.
    pub fn of_subnet(group: &PodGroup) -> Self {
        Self::of_rule(group, "", false)
    }

    /// Returns the membership of a namespace with `labels`.
    pub fn namespace_membership(&self, labels: &BTreeMap<String, String>) -> NamespaceMembership {
        match self.namespaces.matches(labels) {
            false => NamespaceMembership::Out,
            true if self.opt_in && !is_opted_in(labels) => NamespaceMembership::NotOptedIn,
            true => NamespaceMembership::In,
        }
    }

    /// Returns the only namespace that can be in the group, if its selector requires a single name.
    pub fn only_namespace(&self) -> Option<&str> {
        self.namespaces.required_value(NAMESPACE_NAME_LABEL)
    }

    /// Namespace and pod selectors of the group as a peer of a `NetworkPolicy`. The first includes the opt-in label.
    pub(super) fn peer_selectors(&self) -> (Selector, Selector) {
        let namespaces = if self.opt_in {
            self.namespaces.and(&Selector::label(
                SERVICE_ENDPOINT_LABEL,
                SERVICE_ENDPOINT_ENABLED,
            ))
        } else {
            self.namespaces.clone()
        };
        (namespaces, self.pods.clone())
    }
}

/// Whether a namespace with `labels` has opted in to the vault's service endpoint.
pub(super) fn is_opted_in(labels: &BTreeMap<String, String>) -> bool {
    labels
        .get(SERVICE_ENDPOINT_LABEL)
        .is_some_and(|value| value == SERVICE_ENDPOINT_ENABLED)
}

/// The opt-in label of a namespace, in the notation of `kubectl label`.
pub(super) fn opt_in_label() -> String {
    format!("{SERVICE_ENDPOINT_LABEL}={SERVICE_ENDPOINT_ENABLED}")
}

/// Current members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMembers {
    /// Addresses for which every active pod with the address is in the group.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Addresses for which some active pods with the address are in the group and others are not. They are not allowed,
    /// because the pod that uses the address is not known (fail closed).
    pub contested: BTreeSet<Ipv4Addr>,
    /// Namespaces whose pods can be members.
    pub namespaces: BTreeSet<String>,
    /// Namespaces that the group selects, but without the opt-in label that it requires.
    pub not_opted_in: BTreeSet<String>,
}

impl GroupMembers {
    /// Returns a list of the selected namespaces if none of them has opted in. It names at most three, and is empty if
    /// no namespace is selected.
    pub fn missing_opt_in(&self) -> Option<String> {
        if !self.namespaces.is_empty() {
            return None;
        }
        let named: Vec<&str> = self
            .not_opted_in
            .iter()
            .take(3)
            .map(String::as_str)
            .collect();
        let more = match self.not_opted_in.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("{}{more}", named.join(", ")))
    }
}

/// Pods that have addresses in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodsInRange {
    /// The first of them by address, at most [`Self::MOST`].
    pub first: Vec<ObjectName>,
    /// Whether one of them, also one that is not in `first`, is in the namespace that was asked for.
    pub is_own: bool,
}

impl PodsInRange {
    /// Largest number of pods that are listed, so that changes of other pods of a large range change nothing.
    pub const MOST: usize = 20;
}

/// Source of pods and of the members of groups.
pub trait PodMembership {
    /// Returns the members of `group`, or `None` if the source does not track the group; then it allows no address.
    fn members(&self, group: &GroupSelector) -> Option<&GroupMembers>;

    /// Returns the pods with addresses in `range`, and whether `own_namespace` has one of them.
    fn pods_in(&self, range: Ipv4Net, own_namespace: &str) -> PodsInRange;
}
