//! Pods that a vault's Service selected earlier: those that stay isolated, and policies that are not needed any more.

use std::collections::BTreeSet;

use serde_json::Value;

use super::status::EarlierPolicy;
use crate::compile::kubernetes::network_policy::earlier::{
    Selector, earlier_name, is_covered, selector_of,
};
use crate::compile::kubernetes::protected_service::ProtectedService;
use crate::compile::vault_name;
use crate::index::ObjectName;
use crate::policy::VaultId;

/// Earlier pods of one vault, according to its existing policies.
#[derive(Debug, Default)]
pub(crate) struct EarlierPods {
    /// Selectors of pods that the Service may not select now.
    pub(crate) isolated: BTreeSet<Selector>,
    /// Policies of earlier pods that the vault's own policy selects again.
    pub(crate) superfluous: Vec<ObjectName>,
}

impl EarlierPods {
    /// Reads the existing `NetworkPolicies` of a vault.
    pub(crate) fn of(
        vault: &VaultId,
        service: &ProtectedService,
        policies: impl IntoIterator<Item = (ObjectName, Value)>,
    ) -> Self {
        let mut earlier = Self::default();
        for (name, policy) in policies {
            let Some(selector) = selector_of(vault, &policy) else {
                continue;
            };
            if !is_covered(&selector, service.selector()) {
                earlier.isolated.insert(selector);
            } else if name.name != vault_name(&vault.service) {
                earlier.superfluous.push(name);
            }
        }
        earlier
    }

    /// Policies of the isolated pods, for the status.
    pub(crate) fn policies(&self, vault: &VaultId) -> Vec<EarlierPolicy> {
        let isolated = self.isolated.iter();
        let policies = isolated.map(|selector| EarlierPolicy {
            name: earlier_name(vault, selector),
            selector: selector
                .iter()
                .map(|(label, value)| format!("{label}={value}"))
                .collect::<Vec<_>>()
                .join(","),
        });
        policies.collect()
    }
}
