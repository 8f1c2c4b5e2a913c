//! A group of pods as the index keeps it: selectors in normal form, and what resolution asks about its members. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Peer, PodGroup, Selector};
use crate::api::{NAMESPACE_NAME_LABEL, SERVICE_ENDPOINT_ENABLED, SERVICE_ENDPOINT_LABEL};

/// Pods by label, complete: nothing about the policy that it came from is left to know. The key of the index's
/// membership cache, so equal groups of many policies are kept once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupSelector {
    /// Selects namespaces.
    pub namespaces: Selector,
    /// Selects pods in them.
    pub pods: Selector,
    /// Whether the namespace must have opted in to the vault's service endpoint besides.
    pub opt_in: bool,
}

/// What a namespace is to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceMembership {
    /// Its pods can be members.
    In,
    /// It is selected, but has not opted in.
    NotOptedIn,
    /// It is not selected.
    Out,
}

impl GroupSelector {
    /// The group of an inline rule; `own_namespace` stands in for a missing namespace selector.
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

    /// The group of a subnet. Its owner opts in on the subnet, so the namespaces need not. A `VirtualNetwork` is in no
    /// namespace: without a selector, which validation refuses, the group is empty.
    pub fn of_subnet(group: &PodGroup) -> Self {
        Self::of_rule(group, "", false)
    }

    /// What a namespace with `labels` is to the group.
    pub fn namespace_membership(&self, labels: &BTreeMap<String, String>) -> NamespaceMembership {
        let opted_in = || {
            labels
                .get(SERVICE_ENDPOINT_LABEL)
                .is_some_and(|value| value == SERVICE_ENDPOINT_ENABLED)
        };
        match self.namespaces.matches(labels) {
            false => NamespaceMembership::Out,
            true if self.opt_in && !opted_in() => NamespaceMembership::NotOptedIn,
            true => NamespaceMembership::In,
        }
    }

    /// The one namespace that can be in the group, where its selector names one.
    pub fn only_namespace(&self) -> Option<&str> {
        self.namespaces.required_value(NAMESPACE_NAME_LABEL)
    }

    /// The group in the form a `NetworkPolicy` can say it; none when it can have no member.
    pub fn peer(&self) -> Option<Peer> {
        let (namespaces, pods) = self.peer_selectors();
        Some(Peer::Pods {
            namespaces: namespaces.to_label_selector()?,
            pods: pods.to_label_selector()?,
        })
    }

    /// Selectors of [`Self::peer`]: the opt-in is part of the first.
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

/// The members of a group, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMembers {
    /// Addresses that every counted pod claiming them brings into the group.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Addresses that some of the counted pods claiming them would bring into the group and others would not. They
    /// are let in nowhere: who answers there now is not known (fail closed).
    pub contested: BTreeSet<Ipv4Addr>,
    /// Namespaces whose pods can be members.
    pub namespaces: BTreeSet<String>,
    /// Namespaces that the group selects but that have not opted in.
    pub not_opted_in: BTreeSet<String>,
}

impl GroupMembers {
    /// Says that nobody can be let in because no selected namespace has opted in; names at most three of them.
    pub fn missing_opt_in(&self) -> Option<String> {
        if !self.namespaces.is_empty() || self.not_opted_in.is_empty() {
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

/// Answers who is in a group.
pub trait PodMembership {
    /// The members of `group`; none when nothing is known of the group, which lets nobody in.
    fn members(&self, group: &GroupSelector) -> Option<&GroupMembers>;
}
