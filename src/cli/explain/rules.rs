//! The valid policies of one vault.

use crate::objects::LoadedObjects;
use crate::policy::{ValidatedPolicy, VaultId, VirtualNetworks};

/// The valid policies of one vault, to find the nearest rule.
pub(super) struct Rules {
    policies: Vec<ValidatedPolicy>,
    pub(super) virtual_networks: VirtualNetworks,
}

impl Rules {
    pub(super) fn of(loaded: &LoadedObjects, vault: &VaultId) -> Self {
        let policies = loaded.policies().map(|(_, policy)| policy);
        let networks = loaded.virtual_networks();
        Self {
            policies: policies
                .filter(|policy| policy.vault == *vault)
                .cloned()
                .collect(),
            virtual_networks: networks
                .map(|network| (network.name.clone(), network.clone().into()))
                .collect(),
        }
    }

    /// The accepted policies, oldest first.
    pub(super) fn accepted(&self, names: &[String]) -> Vec<&ValidatedPolicy> {
        let find = |name: &String| self.policies.iter().find(|policy| policy.name == *name);
        names.iter().filter_map(find).collect()
    }
}
