//! Membership of pods in groups, updated event by event.
//!
//! Each distinct group is kept once, even if many policies use it. An event only looks at the groups that its namespace
//! takes part in, and reports the vaults that depend on a changed group. Policies are not known here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::watched::WatchedRanges;
use super::{Labels, NamespaceFact, ObjectName, PodFact};
use crate::policy::{
    GroupMembers, GroupSelector, NamespaceMembership, PodMembership, PodsInRange, VaultId,
};

/// Handle of a group; never used again after the group is removed.
type GroupId = u64;

/// Namespaces, counted pods, and the groups that at least one vault depends on.
#[derive(Debug, Default)]
pub(super) struct Membership {
    namespaces: BTreeMap<String, Namespace>,
    pods: HashMap<ObjectName, Pod>,
    /// Counted pods by address. There are several when an address was given to another pod before the event of the
    /// older pod's end arrived.
    claims: BTreeMap<Ipv4Addr, BTreeSet<ObjectName>>,
    /// Ranges whose pods some vaults depend on.
    pub(super) watched: WatchedRanges,
    groups: BTreeMap<GroupId, Group>,
    ids: HashMap<GroupSelector, GroupId>,
    last_id: GroupId,
}

#[derive(Debug, Default)]
struct Namespace {
    /// None when pods of the namespace were seen and the namespace itself was not. No group has its pods then: unknown
    /// labels must not satisfy a selector such as `NotIn`.
    labels: Option<Labels>,
    pods: BTreeSet<String>,
    /// Groups that select the namespace.
    groups: BTreeSet<GroupId>,
}

#[derive(Debug)]
struct Pod {
    fact: PodFact,
    groups: BTreeSet<GroupId>,
}

#[derive(Debug)]
struct Group {
    selector: GroupSelector,
    members: GroupMembers,
    /// Vaults whose firewalls depend on the group.
    vaults: BTreeSet<VaultId>,
}

/// Groups of an address. Contested: not every pod that claims the address is a member.
#[derive(Default)]
struct AddressMembership {
    member_of: BTreeSet<GroupId>,
    contested_in: BTreeSet<GroupId>,
}

impl PodMembership for Membership {
    fn members(&self, group: &GroupSelector) -> Option<&GroupMembers> {
        self.groups
            .get(self.ids.get(group)?)
            .map(|group| &group.members)
    }

    fn pods_in(&self, range: Ipv4Net, own_namespace: &str) -> PodsInRange {
        let claims = self.claims.range(range.network()..=range.broadcast());
        let mut first: Vec<ObjectName> = Vec::new();
        for pod in claims.flat_map(|(_, pods)| pods) {
            if first.len() == PodsInRange::MOST {
                break;
            }
            if !first.contains(pod) {
                first.push(pod.clone());
            }
        }
        let own = self.namespaces.get(own_namespace).into_iter();
        let mut own = own.flat_map(|namespace| &namespace.pods);
        let is_own = own.any(|name| {
            let pod = self.pod(&ObjectName {
                namespace: own_namespace.to_owned(),
                name: name.clone(),
            });
            pod.is_some_and(|pod| pod.addresses.iter().any(|one| range.contains(one)))
        });
        PodsInRange { first, is_own }
    }
}

impl Membership {
    pub(super) fn pod(&self, pod: &ObjectName) -> Option<&PodFact> {
        self.pods.get(pod).map(|pod| &pod.fact)
    }

    /// Labels of the counted pods of a namespace.
    pub(super) fn labels_of_pods(&self, namespace: &str) -> impl Iterator<Item = &Labels> {
        let pods = self.namespaces.get(namespace).into_iter();
        let names = pods.flat_map(|found| &found.pods);
        names.filter_map(move |name| {
            let id = ObjectName {
                namespace: namespace.to_owned(),
                name: name.clone(),
            };
            Some(&self.pod(&id)?.labels)
        })
    }

    pub(super) fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)?.labels.as_ref()
    }

    /// Pods that claim an address, sorted.
    pub(super) fn claimants(&self, address: Ipv4Addr) -> impl Iterator<Item = &PodFact> {
        self.claims
            .get(&address)
            .into_iter()
            .flatten()
            .filter_map(|id| self.pod(id))
    }

    /// Makes `vault` depend on exactly the groups in `wanted`, in place of `had`. Fills new groups from the known facts
    /// and removes groups that no vault depends on any more.
    pub(super) fn depend(
        &mut self,
        vault: &VaultId,
        had: &BTreeSet<GroupSelector>,
        wanted: &BTreeSet<GroupSelector>,
    ) {
        for selector in wanted.difference(had) {
            let id = self
                .ids
                .get(selector)
                .copied()
                .unwrap_or_else(|| self.add_group(selector));
            if let Some(group) = self.groups.get_mut(&id) {
                group.vaults.insert(vault.clone());
            }
        }
        for selector in had.difference(wanted) {
            let Some(id) = self.ids.get(selector).copied() else {
                continue;
            };
            if let Some(group) = self.groups.get_mut(&id) {
                group.vaults.remove(vault);
                if group.vaults.is_empty() {
                    self.remove_group(id);
                }
            }
        }
    }

    /// Sets or, with none, removes a namespace's labels.
    pub(super) fn set_namespace(
        &mut self,
        name: &str,
        fact: Option<NamespaceFact>,
        changed: &mut BTreeSet<VaultId>,
    ) {
        let labels = fact.map(|fact| fact.labels);
        if self
            .namespaces
            .get(name)
            .and_then(|namespace| namespace.labels.as_ref())
            == labels.as_ref()
        {
            return;
        }
        let mut groups = BTreeSet::new();
        for (id, group) in &mut self.groups {
            let before = group.missing_opt_in();
            if group.set_namespace(name, labels.as_ref()) == NamespaceMembership::In {
                groups.insert(*id);
            }
            if group.missing_opt_in() != before {
                changed.extend(group.vaults.iter().cloned());
            }
        }
        let namespace = self.namespaces.entry(name.to_owned()).or_default();
        namespace.labels = labels;
        if namespace.groups != groups {
            namespace.groups = groups;
            let pods = namespace.pods.iter();
            let pods: Vec<ObjectName> = pods
                .map(|pod| ObjectName {
                    namespace: name.to_owned(),
                    name: pod.clone(),
                })
                .collect();
            let addresses = pods
                .iter()
                .filter_map(|id| self.pod(id))
                .flat_map(|pod| pod.addresses.clone());
            let before = self.address_memberships(addresses);
            for id in &pods {
                self.regroup(id);
            }
            self.commit(before, changed);
        }
        self.remove_if_empty(name);
    }

    /// Sets or, with none, removes a counted pod.
    pub(super) fn set_pod(
        &mut self,
        id: &ObjectName,
        fact: Option<PodFact>,
        changed: &mut BTreeSet<VaultId>,
    ) {
        let known = self.pod(id);
        if known == fact.as_ref() {
            return;
        }
        let addresses = known
            .iter()
            .copied()
            .chain(&fact)
            .flat_map(|pod| pod.addresses.clone());
        let addresses: BTreeSet<Ipv4Addr> = addresses.collect();
        let watched = self.watched.states(&addresses, self);
        let before = self.address_memberships(addresses);
        self.remove_pod(id);
        if let Some(fact) = fact {
            self.add_pod(id, fact);
        }
        self.remove_if_empty(&id.namespace);
        self.commit(before, changed);
        changed.extend(watched.into_iter().filter_map(|state| state.changed(self)));
    }

    /// Whether pods and namespaces refer only to groups that exist; stale references would accumulate.
    #[cfg(test)]
    pub(super) fn is_tidy(&self) -> bool {
        let of_pods = self.pods.values().flat_map(|pod| &pod.groups);
        let of_namespaces = self
            .namespaces
            .values()
            .flat_map(|namespace| &namespace.groups);
        of_pods
            .chain(of_namespaces)
            .all(|id| self.groups.contains_key(id))
            && self.groups.values().all(|group| !group.vaults.is_empty())
            && self.groups.len() == self.ids.len()
            && self
                .claims
                .values()
                .flatten()
                .all(|pod| self.pods.contains_key(pod))
    }

    fn add_pod(&mut self, id: &ObjectName, fact: PodFact) {
        for address in &fact.addresses {
            self.claims.entry(*address).or_default().insert(id.clone());
        }
        self.namespaces
            .entry(id.namespace.clone())
            .or_default()
            .pods
            .insert(id.name.clone());
        self.pods.insert(
            id.clone(),
            Pod {
                fact,
                groups: BTreeSet::new(),
            },
        );
        self.regroup(id);
    }

    fn remove_pod(&mut self, id: &ObjectName) {
        let Some(pod) = self.pods.remove(id) else {
            return;
        };
        for address in &pod.fact.addresses {
            if let Some(claimants) = self.claims.get_mut(address) {
                claimants.remove(id);
                if claimants.is_empty() {
                    self.claims.remove(address);
                }
            }
        }
        if let Some(namespace) = self.namespaces.get_mut(&id.namespace) {
            namespace.pods.remove(&id.name);
        }
    }

    /// Updates the groups of a pod, from the groups that select its namespace.
    fn regroup(&mut self, id: &ObjectName) {
        let (Some(pod), Some(namespace)) =
            (self.pods.get_mut(id), self.namespaces.get(&id.namespace))
        else {
            return;
        };
        let selects = |group: &GroupId| {
            self.groups
                .get(group)
                .is_some_and(|group| group.selector.pods.matches(&pod.fact.labels))
        };
        pod.groups = namespace.groups.iter().copied().filter(selects).collect();
    }

    fn remove_if_empty(&mut self, namespace: &str) {
        let empty = |known: &Namespace| known.labels.is_none() && known.pods.is_empty();
        if self.namespaces.get(namespace).is_some_and(empty) {
            self.namespaces.remove(namespace);
        }
    }

    fn address_memberships(
        &self,
        addresses: impl IntoIterator<Item = Ipv4Addr>,
    ) -> BTreeMap<Ipv4Addr, AddressMembership> {
        addresses
            .into_iter()
            .map(|address| (address, self.address_membership(address)))
            .collect()
    }

    /// Returns the groups of an address. It is a member of the groups of which every pod that claims it is a member: if
    /// two pods claim it, it is not known which of them sends from it.
    fn address_membership(&self, address: Ipv4Addr) -> AddressMembership {
        let mut claimants = self
            .claims
            .get(&address)
            .into_iter()
            .flatten()
            .filter_map(|id| self.pods.get(id));
        let Some(first) = claimants.next() else {
            return AddressMembership::default();
        };
        let mut all = first.groups.clone();
        let mut any = first.groups.clone();
        for other in claimants {
            all.retain(|group| other.groups.contains(group));
            any.extend(&other.groups);
        }
        AddressMembership {
            contested_in: any.difference(&all).copied().collect(),
            member_of: all,
        }
    }

    /// Updates the members of groups after a change of these addresses, and adds the vaults that depend on a changed
    /// group.
    fn commit(
        &mut self,
        before: BTreeMap<Ipv4Addr, AddressMembership>,
        changed: &mut BTreeSet<VaultId>,
    ) {
        for (address, before) in before {
            let after = self.address_membership(address);
            let members = before.member_of.symmetric_difference(&after.member_of);
            let contested = before
                .contested_in
                .symmetric_difference(&after.contested_in);
            for id in members
                .chain(contested)
                .copied()
                .collect::<BTreeSet<GroupId>>()
            {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.set_address(address, &after, id);
                    changed.extend(group.vaults.iter().cloned());
                }
            }
        }
    }

    fn add_group(&mut self, selector: &GroupSelector) -> GroupId {
        self.last_id += 1;
        let id = self.last_id;
        let mut group = Group {
            selector: selector.clone(),
            members: GroupMembers::default(),
            vaults: BTreeSet::new(),
        };
        let mut addresses = BTreeSet::new();
        for (name, namespace) in candidates(&mut self.namespaces, selector) {
            if group.set_namespace(name, namespace.labels.as_ref()) != NamespaceMembership::In {
                continue;
            }
            namespace.groups.insert(id);
            for pod in &namespace.pods {
                let pod = ObjectName {
                    namespace: name.clone(),
                    name: pod.clone(),
                };
                if let Some(pod) = self.pods.get_mut(&pod)
                    && selector.pods.matches(&pod.fact.labels)
                {
                    pod.groups.insert(id);
                    addresses.extend(&pod.fact.addresses);
                }
            }
        }
        for address in addresses {
            let membership = self.address_membership(address);
            group.set_address(address, &membership, id);
        }
        self.groups.insert(id, group);
        self.ids.insert(selector.clone(), id);
        id
    }

    fn remove_group(&mut self, id: GroupId) {
        let Some(group) = self.groups.remove(&id) else {
            return;
        };
        self.ids.remove(&group.selector);
        for name in &group.members.namespaces {
            if let Some(namespace) = self.namespaces.get_mut(name) {
                namespace.groups.remove(&id);
            }
        }
        for address in group.members.addresses.union(&group.members.contested) {
            for pod in self.claims.get(address).into_iter().flatten() {
                if let Some(pod) = self.pods.get_mut(pod) {
                    pod.groups.remove(&id);
                }
            }
        }
    }
}

/// Returns the namespaces that a group can select: the one that it names, or all.
fn candidates<'a>(
    namespaces: &'a mut BTreeMap<String, Namespace>,
    selector: &GroupSelector,
) -> Box<dyn Iterator<Item = (&'a String, &'a mut Namespace)> + 'a> {
    match selector.only_namespace() {
        Some(name) => Box::new(namespaces.range_mut(name.to_owned()..=name.to_owned())),
        None => Box::new(namespaces.iter_mut()),
    }
}

impl Group {
    /// Namespaces that need the opt-in label and do not have it, if no other one is selected.
    fn missing_opt_in(&self) -> Option<String> {
        let missing = self.selector.opt_in.then(|| self.members.missing_opt_in());
        missing.flatten()
    }

    /// Updates the lists of namespaces. A namespace without labels, or with others than the selector needs, is in none.
    fn set_namespace(&mut self, name: &str, labels: Option<&Labels>) -> NamespaceMembership {
        let membership = labels.map_or(NamespaceMembership::Out, |labels| {
            self.selector.namespace_membership(labels)
        });
        set(
            &mut self.members.namespaces,
            name,
            membership == NamespaceMembership::In,
        );
        set(
            &mut self.members.not_opted_in,
            name,
            membership == NamespaceMembership::NotOptedIn,
        );
        membership
    }

    fn set_address(&mut self, address: Ipv4Addr, membership: &AddressMembership, id: GroupId) {
        let lists = [
            (&mut self.members.addresses, &membership.member_of),
            (&mut self.members.contested, &membership.contested_in),
        ];
        for (list, groups) in lists {
            if groups.contains(&id) {
                list.insert(address);
            } else {
                list.remove(&address);
            }
        }
    }
}

fn set(list: &mut BTreeSet<String>, name: &str, is_in: bool) {
    if !is_in {
        list.remove(name);
    } else if !list.contains(name) {
        list.insert(name.to_owned());
    }
}
