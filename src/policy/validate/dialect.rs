//! Validation of settings for the dialect of the vault's API: a setting that the API has no use for is a mistake about
//! the vault, and is refused.

use crate::api::{TokenCreation, VaultApi, VaultNetworkPolicySpec};
use crate::policy::violation::{Findings, ViolationReason};

/// Refuses settings of `OpenBao` in the policy of a vault with another API.
pub(super) fn check(spec: &VaultNetworkPolicySpec, findings: &mut Findings) {
    if spec.vault.api == VaultApi::OpenBao {
        return;
    }
    let vault = &spec.vault;
    let settings = [
        ("spec.vault.engines", !vault.engines.is_empty(), "engines"),
        (
            "spec.vault.authMounts",
            !vault.auth_mounts.is_empty(),
            "auth methods",
        ),
        (
            "spec.vault.namespaces",
            !vault.namespaces.is_empty(),
            "vault namespaces",
        ),
        (
            "spec.management.tokenCreation",
            spec.management.token_creation != TokenCreation::default(),
            "requests that create tokens",
        ),
    ];
    for (field, _, what) in settings.into_iter().filter(|(_, is_set, _)| *is_set) {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!(
                "the API AzureKeyVault has no {what}; remove the field, or write OpenBao (also for HashiCorp Vault) as \
                 spec.vault.api"
            ),
        );
    }
}
