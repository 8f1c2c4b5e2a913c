//! From the index to the resolution of one vault, and the record of what that resolution depends on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::Index;
use super::vault::{LastAccepted, Policy, Vault, named_subnets};
use crate::api::VaultApi;
use crate::policy::{
    self, Inputs, ObjectName, Resolution, ValidatedPolicy, VaultId, VirtualNetworks,
    referenced_groups, referenced_ranges,
};

/// The resolution of one vault.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultResolution {
    /// The resolved policies. When none is accepted, `accepted` is empty and the firewall is the last accepted one,
    /// with the current pods and its proxies' settings, or denies everything if there never was one.
    pub resolution: Resolution,
    /// Whether the firewall is an earlier one, kept because no policy is accepted.
    pub kept: bool,
}

impl Index {
    /// Resolves a vault from what is known; `None` when no policy is for it, so that its objects can be deleted.
    pub fn resolve(&mut self, vault: &VaultId) -> Option<VaultResolution> {
        let known = self.vaults.get(vault)?;
        let policies: Vec<Arc<ValidatedPolicy>> = self.valid_policies(vault).cloned().collect();
        let unreadable: Vec<String> = self
            .policy_objects(known)
            .filter(|(_, policy)| policy.valid.is_none())
            .map(|(id, _)| id.name.clone())
            .collect();
        let port = self
            .policy_objects(known)
            .next()
            .map_or(0, |(_, policy)| policy.port);
        let inputs = Inputs {
            vault,
            port,
            api: self.api(known),
            policies: &policies,
            unreadable: &unreadable,
            virtual_networks: &self.virtual_networks,
            membership: &self.membership,
            trusted_services: &self.trusted_services,
            accounts: self,
            account_labels: self.account_labels(),
            keys: &self.keys,
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
        // Most events are about pods and leave the dependencies as they are.
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

    /// API that all policies of a vault name; if they differ, the default.
    fn api(&self, known: &Vault) -> VaultApi {
        let mut apis = self.policy_objects(known).map(|(_, policy)| policy.api);
        let first = apis.next();
        let same = first.filter(|api| apis.all(|other| other == *api));
        same.unwrap_or_default()
    }

    fn policy_objects<'a>(
        &'a self,
        known: &'a Vault,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Policy)> {
        let ids = known.policies.iter();
        ids.filter_map(|id| Some((id, self.policies.get(id)?)))
    }

    fn valid_policies<'a>(
        &'a self,
        vault: &'a VaultId,
    ) -> impl Iterator<Item = &'a Arc<ValidatedPolicy>> {
        let known = self.vaults.get(vault).into_iter();
        let objects = known.flat_map(|known| self.policy_objects(known));
        objects.filter_map(|(_, policy)| policy.valid.as_ref())
    }

    /// Valid policies of a vault, and those that are kept for the case that none is accepted.
    pub(super) fn dependent_policies<'a>(
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

    /// Updates the groups, networks and ranges that a vault depends on, from its policies and from its last accepted
    /// ones. Removes a vault that no policy is for.
    pub(super) fn update_dependencies(&mut self, vault: &VaultId) {
        let Some(known) = self.vaults.get(vault) else {
            return;
        };
        let mut groups = BTreeSet::new();
        let mut networks = BTreeSet::new();
        let mut ranges = BTreeSet::new();
        if !known.policies.is_empty() {
            for policy in self.dependent_policies(vault) {
                networks.extend(named_subnets(policy).map(|(network, _)| network.clone()));
                ranges.extend(referenced_ranges(policy));
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
        let accounts = self.accounts_of(vault);
        let had_accounts = known.accounts.clone();
        self.membership.depend(vault, &known.groups, &groups);
        self.membership
            .watched
            .depend(vault, &known.ranges, &ranges);
        for removed in known.networks.difference(&networks) {
            if let Some(vaults) = self.vaults_by_network.get_mut(removed) {
                vaults.remove(vault);
                if vaults.is_empty() {
                    self.vaults_by_network.remove(removed);
                }
            }
        }
        for network in networks.difference(&known.networks) {
            self.vaults_by_network
                .entry(network.clone())
                .or_default()
                .insert(vault.clone());
        }
        let is_used = !known.policies.is_empty();
        self.depend_on_accounts(vault, &had_accounts, &accounts);
        if !is_used {
            self.vaults.remove(vault);
        } else if let Some(known) = self.vaults.get_mut(vault) {
            known.accounts = accounts;
            known.groups = groups;
            known.networks = networks;
            known.ranges = ranges;
        }
    }
}
