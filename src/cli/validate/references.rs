//! References of the policies of a cluster that lead nowhere. Such a policy is valid, but the rule allows no client, or
//! the vault is not protected. Files are not searched: the objects need not be in the same files.

use crate::compile::kubernetes::protected_service::{ProtectedService, ProtectedServiceError};
use crate::index::Index;
use crate::limits::Limits;
use crate::objects::{CLUSTER, LoadedObjects, LocatedViolation};
use crate::policy::{ValidatedPolicy, VaultId};

/// A reference that leads nowhere, in the form of a violation. Its reason is that of the condition `ResolvedRefs`.
pub(super) type Unresolved = LocatedViolation<&'static str>;

/// Returns them in the order of the vaults; `referenced` has the objects that policies refer to.
pub(super) fn unresolved(
    checked: &LoadedObjects,
    referenced: LoadedObjects,
    limits: Limits,
) -> Vec<Unresolved> {
    let mut index = referenced.into_index(limits);
    for located in &checked.objects {
        index.apply(located.object.clone());
    }
    let vaults: Vec<VaultId> = index.vaults().cloned().collect();
    let mut found = Vec::new();
    for vault in &vaults {
        let policies = checked.policies().map(|(_, policy)| policy);
        let policies = policies.filter(|policy| policy.vault == *vault);
        found.extend(policies.filter_map(|policy| target(policy, &index)));
        let Some(resolved) = index.resolve(vault) else {
            continue;
        };
        let rules = resolved.resolution.unresolved.into_iter();
        found.extend(rules.map(|rule| {
            let message = if rule.detail.is_empty() {
                rule.message
            } else {
                format!("{} ({})", rule.message, rule.detail)
            };
            located(vault, rule.policy, rule.field, rule.reason.name(), message)
        }));
    }
    found
}

/// The policy's target, if there is no such Service, or if it cannot be protected.
fn target(policy: &ValidatedPolicy, index: &Index) -> Option<Unresolved> {
    let vault = &policy.vault;
    let (field, reason, message) = match index.service(vault) {
        None => (
            "spec.targetRef.name",
            "TargetNotFound",
            format!(
                "there is no Service {} in namespace {}; create it, or if the name is wrong, delete this policy and \
                 create one with the right name",
                vault.service, vault.namespace,
            ),
        ),
        Some(service) => match ProtectedService::of(service, policy.port) {
            Ok(_) => return None,
            Err(error @ ProtectedServiceError::NoSelector) => {
                ("spec.targetRef.name", "NoSelector", error.to_string())
            }
            Err(error @ ProtectedServiceError::NoPort { .. }) => {
                ("spec.targetRef.port", "PortNotFound", error.to_string())
            }
        },
    };
    let name = policy.name.clone();
    Some(located(vault, name, field.to_owned(), reason, message))
}

fn located(
    vault: &VaultId,
    policy: String,
    field: String,
    reason: &'static str,
    message: String,
) -> Unresolved {
    LocatedViolation {
        file: CLUSTER.to_owned(),
        kind: "VaultNetworkPolicy".to_owned(),
        namespace: Some(vault.namespace.clone()),
        name: policy,
        field,
        reason,
        message,
    }
}
