//! Effect of each kind's objects on the index, and the vaults that a change affects.

use std::sync::Arc;

use super::state::{Index, Indexed};
use super::vault::{Policy, named_subnets};
use super::{
    EndpointSliceFact, InvalidPolicy, Key, Labels, NamespaceFact, NetworkPolicyFact, ObservedPod,
    ObservedPolicy, Payload, PodFact, ServiceAccountFact, ServiceFact,
};
use crate::policy::{
    ExistingAccount, ObjectName, ValidatedPolicy, ValidatedTrustedService, ValidatedVirtualNetwork,
    VaultId,
};

impl Indexed for NamespaceFact {
    fn apply(self, index: &mut Index) {
        let name = self.name.clone();
        index.set_namespace(&name, Some(self));
    }

    fn delete(key: &Key, index: &mut Index) {
        index.set_namespace(&key.name.name, None);
    }
}

impl Indexed for ObservedPod {
    /// Keeps a pod that rules cannot select for explanations only.
    fn apply(self, index: &mut Index) {
        match self {
            Self::Counted(fact) => {
                let id = fact.id();
                index.not_counted.remove(&id);
                index.labels.not_counted.remove(&id);
                index.set_pod(&id, Some(fact));
            }
            Self::NotCounted {
                pod,
                reason,
                wrong_label,
            } => {
                match wrong_label {
                    Some(wrong) => index.labels.not_counted.insert(pod.clone(), wrong),
                    None => index.labels.not_counted.remove(&pod),
                };
                index.set_pod(&pod, None);
                index.not_counted.insert(pod, reason);
            }
        }
    }

    fn delete(key: &Key, index: &mut Index) {
        index.not_counted.remove(&key.name);
        index.labels.not_counted.remove(&key.name);
        index.set_pod(&key.name, None);
    }
}

impl Indexed for ServiceFact {
    /// The Service's vault is reported as changed, because the `NetworkPolicy` around the vault's pods is made from the
    /// Service.
    fn apply(self, index: &mut Index) {
        let id = self.object_name();
        if index.services.get(&id) != Some(&self) {
            index.services.insert(id.clone(), self);
            index.service_changed(id);
        }
    }

    fn delete(key: &Key, index: &mut Index) {
        if index.services.remove(&key.name).is_some() {
            index.service_changed(key.name.clone());
        }
    }
}

impl Indexed for EndpointSliceFact {
    fn apply(self, index: &mut Index) {
        for service in index.endpoints.apply(self) {
            index.endpoints_changed(service);
        }
    }

    fn delete(key: &Key, index: &mut Index) {
        for service in index.endpoints.delete(&key.name) {
            index.endpoints_changed(service);
        }
    }
}

impl Indexed for NetworkPolicyFact {
    /// Reports all vaults of the namespace: the policy may select the pods of any.
    fn apply(self, index: &mut Index) {
        let id = self.id.clone();
        if index.network_policies.get(&id) != Some(&self) {
            index.network_policies.insert(id.clone(), self);
            index.network_policy_changed(&id.namespace);
        }
    }

    fn delete(key: &Key, index: &mut Index) {
        if index.network_policies.remove(&key.name).is_some() {
            index.network_policy_changed(&key.name.namespace);
        }
    }
}

impl Indexed for ServiceAccountFact {
    fn apply(self, index: &mut Index) {
        let account = self.object_name();
        index.set_account(&account, Some(ExistingAccount { uid: self.uid }));
    }

    fn delete(key: &Key, index: &mut Index) {
        index.set_account(&key.name, None);
    }
}

impl Indexed for ValidatedTrustedService {
    /// An invalid service is never applied: its last valid form stays in force.
    fn apply(self, index: &mut Index) {
        let name = self.name.to_string();
        let service = Some(Arc::new(self));
        index.set_trusted_service(&name, service);
    }

    fn delete(key: &Key, index: &mut Index) {
        index.set_trusted_service(&key.name.name, None);
    }
}

impl Indexed for ValidatedVirtualNetwork {
    /// An invalid network is never applied: its last valid form stays in force.
    fn apply(self, index: &mut Index) {
        let name = self.name.clone();
        let old = index.virtual_networks.insert(name.clone(), Arc::new(self));
        index.virtual_network_changed(&name, old.as_deref());
    }

    fn delete(key: &Key, index: &mut Index) {
        let name = &key.name.name;
        if let Some(old) = index.virtual_networks.remove(name) {
            index.virtual_network_changed(name, Some(&old));
        }
    }
}

impl Indexed for ObservedPolicy {
    fn apply(self, index: &mut Index) {
        let id = self.object_name();
        match self {
            Self::Valid(policy) => index.apply_valid_policy(&id, *policy),
            Self::Invalid(policy) => index.apply_invalid_policy(&id, policy),
        }
    }

    fn delete(key: &Key, index: &mut Index) {
        index.set_policy(&key.name, None);
    }
}

impl Index {
    fn service_changed(&mut self, service: ObjectName) {
        let vault = VaultId::from(service);
        if self.vaults.contains_key(&vault) {
            self.changed.insert(vault);
        }
    }

    /// Sets or, with none, removes a namespace. Its labels also decide its subscription.
    fn set_namespace(&mut self, name: &str, fact: Option<NamespaceFact>) {
        let before = self.namespace_state(name);
        self.set_terminating(name, fact.as_ref());
        self.membership.set_namespace(name, fact, &mut self.changed);
        self.update_subscription(name, before.subscription.clone());
        if self.namespace_state(name) != before {
            self.every_service_changed();
        }
    }

    /// Sets or, with none, removes a counted pod. Its labels also decide which `NetworkPolicies` open a vault, and its
    /// service account is an identity.
    fn set_pod(&mut self, id: &ObjectName, fact: Option<PodFact>) {
        let before = self.labels_for_network_policies(id);
        let account = self.pod(id).map(PodFact::account);
        let accounts = self.pods_before(id, fact.as_ref());
        self.membership.set_pod(id, fact, &mut self.changed);
        self.update_accounts(id, account.as_ref(), accounts);
        self.update_label(id);
        if self.labels_for_network_policies(id) != before {
            self.network_policy_changed(&id.namespace);
        }
    }

    /// Labels of a pod; none if its namespace has no `NetworkPolicy` that could select it.
    fn labels_for_network_policies(&self, pod: &ObjectName) -> Option<Labels> {
        self.network_policies_in(&pod.namespace).next()?;
        self.membership.pod(pod).map(|pod| pod.labels.clone())
    }

    fn network_policy_changed(&mut self, namespace: &str) {
        let vaults = self.vaults.keys();
        let inside = vaults.filter(|vault| vault.namespace == namespace);
        self.changed.extend(inside.cloned());
    }

    fn endpoints_changed(&mut self, service: ObjectName) {
        self.changed_endpoints.insert(service.clone());
        self.service_changed(service);
    }

    /// Marks only the vaults whose rules refer to a changed subnet of this network.
    fn virtual_network_changed(&mut self, name: &str, old: Option<&ValidatedVirtualNetwork>) {
        let new = self.virtual_networks.get(name).cloned();
        let differs = |subnet: &str| {
            let old = old.and_then(|network| network.subnet(subnet));
            let new = new.as_deref().and_then(|network| network.subnet(subnet));
            old != new
        };
        // The reason in the status differs between a missing network and a network without the subnet.
        let reason_changes = old.is_some() != new.is_some();
        let names_a_change = |vault: &VaultId| {
            let mut subnets = self
                .dependent_policies(vault)
                .flat_map(|policy| named_subnets(policy));
            subnets.any(|(network, subnet)| network == name && (reason_changes || differs(subnet)))
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

    fn apply_valid_policy(&mut self, id: &ObjectName, policy: ValidatedPolicy) {
        let known = self
            .policies
            .get(id)
            .and_then(|known| known.valid.as_deref());
        if known != Some(&policy) {
            let known = Policy {
                vault: policy.vault.clone(),
                port: policy.port,
                api: policy.api,
                valid: Some(Arc::new(policy)),
            };
            self.set_policy(id, Some(known));
        }
    }

    /// The last valid form of an invalid policy stays in force. Without one, the policy allows no client and keeps the
    /// vault's default action at `Deny`, because its intent is unknown.
    fn apply_invalid_policy(&mut self, id: &ObjectName, policy: InvalidPolicy) {
        let InvalidPolicy {
            vault, port, api, ..
        } = policy;
        let unchanged = self.policies.get(id).is_some_and(|known| {
            known.valid.is_some() || (&known.vault, known.port, known.api) == (&vault, port, api)
        });
        if !unchanged {
            let invalid = Policy {
                vault,
                valid: None,
                port,
                api,
            };
            self.set_policy(id, Some(invalid));
        }
    }

    fn set_policy(&mut self, id: &ObjectName, policy: Option<Policy>) {
        let bypass_of = |policy: Option<&Policy>| policy?.valid.as_ref()?.bypass.clone();
        let bypass = bypass_of(policy.as_ref());
        let new_vault = policy.as_ref().map(|policy| policy.vault.clone());
        if let Some(vault) = &new_vault {
            self.vaults
                .entry(vault.clone())
                .or_default()
                .policies
                .insert(id.clone());
        }
        let old = match policy {
            Some(policy) => self.policies.insert(id.clone(), policy),
            None => self.policies.remove(id),
        };
        self.bypass_changed(bypass_of(old.as_ref()).as_ref(), bypass.as_ref());
        let old_vault = old
            .map(|old| old.vault)
            .filter(|vault| Some(vault) != new_vault.as_ref());
        if let Some(vault) = &old_vault
            && let Some(known) = self.vaults.get_mut(vault)
        {
            known.policies.remove(id);
            known.remove_accepted(&id.name);
        }
        for vault in [old_vault, new_vault].into_iter().flatten() {
            self.update_dependencies(&vault);
            self.changed.insert(vault);
        }
    }
}
