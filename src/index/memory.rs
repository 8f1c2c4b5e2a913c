//! The index: everything known, and which vaults' firewalls may have changed since somebody last asked.
//!
//! Plain objects go in by `apply_…` and `delete_…`, resolutions come out by [`Index::resolve`]. The work of an event is
//! proportional to what it changes. Applying the same object again changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::membership::Membership;
use super::vault::{LastAccepted, Policy, Vault, find_subnet, named_subnets};
use super::{
    Labels, NamespaceFact, NotCounted, ObjectName, ObservedPod, PodFact, ServiceAccountFact,
    ServiceFact,
};
use crate::limits::Limits;
use crate::policy::{
    self, Inputs, Resolution, ValidatedPolicy, ValidatedVirtualNetwork, VaultId, VirtualNetworks,
    referenced_groups,
};

/// Facts, valid policies and virtual networks, and what they come to.
#[derive(Debug, Default)]
pub struct Index {
    limits: Limits,
    pub(super) membership: Membership,
    not_counted: HashMap<ObjectName, NotCounted>,
    services: BTreeMap<ObjectName, ServiceFact>,
    service_accounts: BTreeSet<ObjectName>,
    virtual_networks: VirtualNetworks,
    /// Vaults whose policies name a virtual network, which need not exist.
    vaults_by_network: BTreeMap<String, BTreeSet<VaultId>>,
    policies: BTreeMap<ObjectName, Policy>,
    vaults: BTreeMap<VaultId, Vault>,
    changed: BTreeSet<VaultId>,
}

/// A vault's resolution as the index gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultResolution {
    /// What the policies come to. When none is accepted, `accepted` is empty and the firewall is the last accepted
    /// one, with the pods of now and its proxies' settings, or denies everything if there never was one.
    pub resolution: Resolution,
    /// Whether the firewall is that of an earlier time because no policy is accepted now.
    pub kept: bool,
}

impl Index {
    /// An empty index.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Vaults whose resolution may have changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<VaultId> {
        std::mem::take(&mut self.changed)
    }

    /// Vaults that some policy is about.
    pub fn vaults(&self) -> impl Iterator<Item = &VaultId> {
        self.vaults.keys()
    }

    /// The vault that a policy counts for: an invalid one stays with the vault of its last valid form.
    pub fn vault_of(&self, policy: &ObjectName) -> Option<&VaultId> {
        self.policies.get(policy).map(|known| &known.vault)
    }

    /// The policies of a vault, valid or not, by name.
    pub fn policies_of(&self, vault: &VaultId) -> Vec<ObjectName> {
        let known = self.vaults.get(vault).into_iter();
        let names = known.flat_map(|known| &known.policies);
        let id = |name: &String| ObjectName {
            namespace: vault.namespace.clone(),
            name: name.clone(),
        };
        names.map(id).collect()
    }

    /// A namespace's labels.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.membership.namespace_labels(name)
    }

    /// A pod that counts.
    pub fn pod(&self, pod: &ObjectName) -> Option<&PodFact> {
        self.membership.pod(pod)
    }

    /// Why a pod that exists does not count.
    pub fn not_counted(&self, pod: &ObjectName) -> Option<&NotCounted> {
        self.not_counted.get(pod)
    }

    /// Counted pods that claim an address; more than one only until the older one's end is seen.
    pub fn pods_at(&self, address: Ipv4Addr) -> impl Iterator<Item = &PodFact> {
        self.membership.claimants(address)
    }

    /// The Service of a vault.
    pub fn service(&self, vault: &VaultId) -> Option<&ServiceFact> {
        self.services.get(&vault.service_name())
    }

    /// Whether a service account exists.
    pub fn has_service_account(&self, account: &ObjectName) -> bool {
        self.service_accounts.contains(account)
    }

    /// A namespace is there, or its labels changed.
    pub fn apply_namespace(&mut self, fact: NamespaceFact) {
        let name = fact.name.clone();
        self.membership
            .set_namespace(&name, Some(fact), &mut self.changed);
    }

    /// A namespace is gone.
    pub fn delete_namespace(&mut self, name: &str) {
        self.membership.set_namespace(name, None, &mut self.changed);
    }

    /// A pod is there, or changed. One that does not count is remembered for explanations only.
    pub fn apply_pod(&mut self, pod: ObservedPod) {
        match pod {
            ObservedPod::Counted(fact) => {
                let id = fact.id();
                self.not_counted.remove(&id);
                self.membership.set_pod(&id, Some(fact), &mut self.changed);
            }
            ObservedPod::NotCounted { pod, reason } => {
                self.membership.set_pod(&pod, None, &mut self.changed);
                self.not_counted.insert(pod, reason);
            }
        }
    }

    /// A pod is gone.
    pub fn delete_pod(&mut self, pod: &ObjectName) {
        self.not_counted.remove(pod);
        self.membership.set_pod(pod, None, &mut self.changed);
    }

    /// A Service is there, or changed. Its vault is reported as changed, because the `NetworkPolicy` around the vault's
    /// pods is made from the Service.
    pub fn apply_service(&mut self, fact: ServiceFact) {
        let id = ObjectName {
            namespace: fact.namespace.clone(),
            name: fact.name.clone(),
        };
        if self.services.get(&id) != Some(&fact) {
            self.services.insert(id.clone(), fact);
            self.service_changed(id);
        }
    }

    /// A Service is gone.
    pub fn delete_service(&mut self, service: &ObjectName) {
        if self.services.remove(service).is_some() {
            self.service_changed(service.clone());
        }
    }

    fn service_changed(&mut self, service: ObjectName) {
        let vault = VaultId::from(service);
        if self.vaults.contains_key(&vault) {
            self.changed.insert(vault);
        }
    }

    /// A service account is there.
    pub fn apply_service_account(&mut self, fact: ServiceAccountFact) {
        self.service_accounts.insert(ObjectName {
            namespace: fact.namespace,
            name: fact.name,
        });
    }

    /// A service account is gone.
    pub fn delete_service_account(&mut self, account: &ObjectName) {
        self.service_accounts.remove(account);
    }

    /// A valid `VirtualNetwork` is there, or changed. An invalid one is not applied at all: its last valid form stays
    /// in force.
    pub fn apply_virtual_network(&mut self, network: ValidatedVirtualNetwork) {
        let name = network.name.clone();
        let old = self
            .virtual_networks
            .insert(name.clone(), Arc::new(network));
        self.virtual_network_changed(&name, old.as_deref());
    }

    /// A `VirtualNetwork` is gone.
    pub fn delete_virtual_network(&mut self, name: &str) {
        if let Some(old) = self.virtual_networks.remove(name) {
            self.virtual_network_changed(name, Some(&old));
        }
    }

    /// Only vaults that name a subnet which is not what it was are touched.
    fn virtual_network_changed(&mut self, name: &str, old: Option<&ValidatedVirtualNetwork>) {
        let new = self.virtual_networks.get(name).cloned();
        let differs =
            |subnet: &str| find_subnet(old, subnet) != find_subnet(new.as_deref(), subnet);
        // Without the network the rule says so, with a network that lacks the subnet it says something else.
        let other_word = old.is_some() != new.is_some();
        let names_a_change = |vault: &VaultId| {
            let mut subnets = self
                .dependent_policies(vault)
                .flat_map(|policy| named_subnets(policy));
            subnets.any(|(network, subnet)| network == name && (other_word || differs(subnet)))
        };
        let named_by = self.vaults_by_network.get(name).into_iter().flatten();
        let touched: Vec<VaultId> = named_by
            .filter(|vault| names_a_change(vault))
            .cloned()
            .collect();
        for vault in touched {
            self.update_dependencies(&vault);
            self.changed.insert(vault);
        }
    }

    /// A valid policy is there, or changed.
    pub fn apply_policy(&mut self, policy: ValidatedPolicy) {
        let id = ObjectName {
            namespace: policy.vault.namespace.clone(),
            name: policy.name.clone(),
        };
        let known = self
            .policies
            .get(&id)
            .and_then(|known| known.valid.as_deref());
        if known != Some(&policy) {
            let (vault, port) = (policy.vault.clone(), policy.port);
            self.set_policy(
                &id,
                Some(Policy {
                    vault,
                    port,
                    valid: Some(Arc::new(policy)),
                }),
            );
        }
    }

    /// A policy is there that validation refused, aimed at `vault`. Its last valid form stays in force. Without one it
    /// opens nothing, and keeps the vault's default action at `Deny`, because what it means is not known.
    pub fn apply_invalid_policy(&mut self, name: &str, vault: VaultId, port: u16) {
        let id = ObjectName {
            namespace: vault.namespace.clone(),
            name: name.to_owned(),
        };
        let known = self.policies.get(&id);
        let unchanged = known.is_some_and(|known| {
            known.valid.is_some() || (known.vault == vault && known.port == port)
        });
        if !unchanged {
            self.set_policy(
                &id,
                Some(Policy {
                    vault,
                    port,
                    valid: None,
                }),
            );
        }
    }

    /// A policy is gone.
    pub fn delete_policy(&mut self, policy: &ObjectName) {
        self.set_policy(policy, None);
    }

    fn set_policy(&mut self, id: &ObjectName, policy: Option<Policy>) {
        let new_vault = policy.as_ref().map(|policy| policy.vault.clone());
        if let Some(vault) = &new_vault {
            self.vaults
                .entry(vault.clone())
                .or_default()
                .policies
                .insert(id.name.clone());
        }
        let old = match policy {
            Some(policy) => self.policies.insert(id.clone(), policy),
            None => self.policies.remove(id),
        };
        let old_vault = old
            .map(|old| old.vault)
            .filter(|vault| Some(vault) != new_vault.as_ref());
        if let Some(vault) = &old_vault
            && let Some(known) = self.vaults.get_mut(vault)
        {
            known.policies.remove(&id.name);
            known.forget_accepted(&id.name);
        }
        for vault in [old_vault, new_vault].into_iter().flatten() {
            self.update_dependencies(&vault);
            self.changed.insert(vault);
        }
    }

    /// Resolves a vault from what is known now; none when no policy is about it (what was made for it can go).
    pub fn resolve(&mut self, vault: &VaultId) -> Option<VaultResolution> {
        let known = self.vaults.get(vault)?;
        let policies: Vec<Arc<ValidatedPolicy>> = self.valid_policies(vault).cloned().collect();
        let objects = self.policy_objects(vault, known);
        let unreadable: Vec<String> = objects
            .filter(|(_, policy)| policy.valid.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        let port = self
            .policy_objects(vault, known)
            .next()
            .map_or(0, |(_, policy)| policy.port);
        let inputs = Inputs {
            vault,
            port,
            policies: &policies,
            unreadable: &unreadable,
            virtual_networks: &self.virtual_networks,
            membership: &self.membership,
            limits: &self.limits,
        };
        let mut resolution = policy::resolve(&inputs);
        if resolution.accepted.is_empty() {
            let kept = known.last_accepted.as_ref().map(|last| {
                let policies = last.policies.as_slice();
                let virtual_networks = &last.virtual_networks(&self.virtual_networks);
                policy::resolve(&Inputs {
                    policies,
                    unreadable: &[],
                    virtual_networks,
                    ..inputs
                })
            });
            let kept = kept.filter(|kept| !kept.firewall.policies.is_empty());
            let is_kept = kept.is_some();
            if let Some(kept) = kept {
                resolution.firewall = kept.firewall;
                resolution.proxy = kept.proxy;
            }
            return Some(VaultResolution {
                resolution,
                kept: is_kept,
            });
        }
        let accepted: BTreeSet<&String> = resolution.accepted.iter().collect();
        let mut last = LastAccepted {
            policies,
            virtual_networks: VirtualNetworks::new(),
        };
        last.policies
            .retain(|policy| accepted.contains(&policy.name));
        for (name, _) in last
            .policies
            .iter()
            .flat_map(|policy| named_subnets(policy))
        {
            if let Some(network) = self.virtual_networks.get(name) {
                last.virtual_networks.insert(name.clone(), network.clone());
            }
        }
        // Mostly only pods came or went, and then nothing depends on anything new.
        if known.last_accepted.as_ref() != Some(&last) {
            if let Some(known) = self.vaults.get_mut(vault) {
                known.last_accepted = Some(last);
            }
            self.update_dependencies(vault);
        }
        Some(VaultResolution {
            resolution,
            kept: false,
        })
    }

    fn policy_objects<'a>(
        &'a self,
        vault: &'a VaultId,
        known: &'a Vault,
    ) -> impl Iterator<Item = (&'a String, &'a Policy)> {
        known.policies.iter().filter_map(|name| {
            let id = ObjectName {
                namespace: vault.namespace.clone(),
                name: name.clone(),
            };
            Some((name, self.policies.get(&id)?))
        })
    }

    fn valid_policies<'a>(
        &'a self,
        vault: &'a VaultId,
    ) -> impl Iterator<Item = &'a Arc<ValidatedPolicy>> {
        let known = self.vaults.get(vault).into_iter();
        let objects = known.flat_map(|known| self.policy_objects(vault, known));
        objects.filter_map(|(_, policy)| policy.valid.as_ref())
    }

    /// Its valid policies, and those that are kept for the case that none is accepted.
    fn dependent_policies<'a>(
        &'a self,
        vault: &'a VaultId,
    ) -> impl Iterator<Item = &'a Arc<ValidatedPolicy>> {
        let last = self
            .vaults
            .get(vault)
            .and_then(|known| known.last_accepted.as_ref());
        self.valid_policies(vault)
            .chain(last.into_iter().flat_map(|last| &last.policies))
    }

    /// Brings what a vault depends on up to date with its policies and with what is kept for it; forgets a vault that
    /// no policy is about.
    fn update_dependencies(&mut self, vault: &VaultId) {
        let Some(known) = self.vaults.get(vault) else {
            return;
        };
        let mut groups = BTreeSet::new();
        let mut networks = BTreeSet::new();
        if !known.policies.is_empty() {
            for policy in self.dependent_policies(vault) {
                networks.extend(named_subnets(policy).map(|(network, _)| network.clone()));
            }
            for policy in self.valid_policies(vault) {
                groups.append(&mut referenced_groups(policy, &self.virtual_networks));
            }
            if let Some(last) = &known.last_accepted {
                let virtual_networks = last.virtual_networks(&self.virtual_networks);
                for policy in &last.policies {
                    groups.append(&mut referenced_groups(policy, &virtual_networks));
                }
            }
        }
        self.membership.depend(vault, &known.groups, &groups);
        for gone in known.networks.difference(&networks) {
            if let Some(vaults) = self.vaults_by_network.get_mut(gone) {
                vaults.remove(vault);
                if vaults.is_empty() {
                    self.vaults_by_network.remove(gone);
                }
            }
        }
        for network in networks.difference(&known.networks) {
            self.vaults_by_network
                .entry(network.clone())
                .or_default()
                .insert(vault.clone());
        }
        if known.policies.is_empty() {
            self.vaults.remove(vault);
        } else if let Some(known) = self.vaults.get_mut(vault) {
            known.groups = groups;
            known.networks = networks;
        }
    }
}
