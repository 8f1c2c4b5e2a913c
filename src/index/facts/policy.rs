//! A `VaultNetworkPolicy` object as the index keeps it, valid or not.

use crate::api::VaultApi;
use crate::policy::{ValidatedPolicy, VaultId};

/// A policy object, as far as it can be used.
#[derive(Clone, Debug, PartialEq)]
pub enum ObservedPolicy {
    /// Passed validation.
    Valid(Box<ValidatedPolicy>),
    /// Must not be used.
    Invalid(InvalidPolicy),
}

/// A policy with violations whose vault is known. Its last valid form stays in force; without one, it requires `Deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPolicy {
    /// Name of the policy; its namespace is the vault's.
    pub name: String,
    /// The vault of `spec.targetRef`.
    pub vault: VaultId,
    /// The Service's port of the vault's API.
    pub port: u16,
    /// The vault's API, as far as it can be read.
    pub api: VaultApi,
}

impl ObservedPolicy {
    /// The vault that the policy is for.
    pub fn vault(&self) -> &VaultId {
        match self {
            Self::Valid(policy) => &policy.vault,
            Self::Invalid(policy) => &policy.vault,
        }
    }
}
