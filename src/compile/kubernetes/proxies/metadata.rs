//! Metadata that all objects of the proxies share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::inputs::ProxyInputs;
use crate::api::{GROUP, VERSION, generated_labels};
use crate::compile::names::firewall_name;
use crate::policy::VaultId;

/// Owner references from a vault's generated objects to all of its policies, given as name and UID: Kubernetes deletes
/// the objects with the last policy. No policy is the controller, because all are equal, and no reference blocks the
/// deletion of its policy. They are sorted and without duplicates.
pub fn owner_references(
    policies: impl IntoIterator<Item = (String, String)>,
) -> Vec<OwnerReference> {
    let mut owners: Vec<OwnerReference> = policies
        .into_iter()
        .map(|(name, uid)| OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "VaultNetworkPolicy".to_owned(),
            name,
            uid,
            controller: None,
            block_owner_deletion: None,
        })
        .collect();
    owners.sort_by(|one, other| (&one.name, &one.uid).cmp(&(&other.name, &other.uid)));
    owners.dedup();
    owners
}

pub(super) fn metadata(inputs: &ProxyInputs<'_>) -> ObjectMeta {
    let VaultId { namespace, service } = inputs.vault;
    ObjectMeta {
        name: Some(firewall_name(service)),
        namespace: Some(namespace.clone()),
        labels: Some(generated_labels(service)),
        owner_references: Some(inputs.owners.to_vec()).filter(|owners| !owners.is_empty()),
        ..ObjectMeta::default()
    }
}
