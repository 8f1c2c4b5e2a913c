//! The error about a vault that no policy is for. It names what was read, because the policy may be elsewhere.

use std::fmt;

use crate::index::Index;
use crate::policy::VaultId;

/// No policy that was read is for the vault.
#[derive(Debug)]
pub(super) struct UnknownVault {
    vault: VaultId,
    from_files: bool,
    /// The vaults of the policies that were read. Of a cluster, only the vault's namespace is read.
    known: Vec<VaultId>,
}

impl UnknownVault {
    pub(super) fn new(vault: &VaultId, index: &Index, from_files: bool) -> Self {
        Self {
            vault: vault.clone(),
            from_files,
            known: index.vaults().cloned().collect(),
        }
    }
}

impl std::error::Error for UnknownVault {}

impl fmt::Display for UnknownVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            vault,
            from_files,
            known,
        } = self;
        let VaultId { namespace, service } = vault;
        let (place, have) = if *from_files {
            ("the files of -f".to_owned(), "the files have".to_owned())
        } else {
            (
                format!("namespace {namespace} of the cluster"),
                format!("namespace {namespace} has"),
            )
        };
        let vaults: Vec<String> = known.iter().map(ToString::to_string).collect();
        let policies = if vaults.is_empty() {
            "no policies".to_owned()
        } else {
            format!("policies for {}", vaults.join(", "))
        };
        write!(
            f,
            "no policy in {place} is for the vault {vault}; {have} {policies}"
        )?;
        if *from_files {
            return Ok(());
        }
        write!(
            f,
            ". If the vault is in another namespace, write --vault {service} -n NAMESPACE; `kubectl get vnp \
             --all-namespaces` lists all policies"
        )
    }
}
