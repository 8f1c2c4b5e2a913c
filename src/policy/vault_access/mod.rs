//! The second key of a trusted service: roles of the vault's auth methods, their ACL policies, and the comparison with
//! the identities and scenarios of the firewall. Pure; `cli::trusted` reads the vault.

pub mod acl;
mod compare;
mod coverage;
mod glob;
mod role;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::ServiceIdentity;
use super::identity::ObjectName;
use super::trusted_service::ValidatedTrustedService;
use acl::{AclError, Rule};
pub use compare::compare;
pub use glob::glob;
pub use role::{Binding, Role, SubjectRule};

/// Roles and policies of a vault.
#[derive(Clone, Debug, Default)]
pub struct VaultAccess {
    /// Roles of all auth methods by which service accounts and federated identities log in.
    pub roles: Vec<Role>,
    /// Policies of the roles, by name; `None` for one that does not exist.
    pub policies: BTreeMap<String, Option<Result<Vec<Rule>, AclError>>>,
}

/// A trusted service that the bypass lets in.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// The service.
    pub service: Arc<ValidatedTrustedService>,
    /// Identities, with registered resources replaced by their service accounts.
    pub subjects: Vec<Subject>,
}

/// An identity that logs in to the vault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A service account of this cluster.
    Account(ObjectName),
    /// A token of another issuer.
    Federated {
        /// Issuer of the token.
        issuer: String,
        /// Subject of the token.
        subject: String,
    },
}

impl Subject {
    /// Identities of a mapping; `accounts` are the service accounts that it names.
    pub fn of(identity: &ServiceIdentity, accounts: Vec<ObjectName>) -> Vec<Self> {
        match identity {
            ServiceIdentity::FederatedCredential(credential) => vec![Self::Federated {
                issuer: credential.issuer.clone(),
                subject: credential.subject.clone(),
            }],
            _ => accounts.into_iter().map(Self::Account).collect(),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Account(account) => write!(f, "service account {account}"),
            Self::Federated { issuer, subject } => write!(f, "subject {subject} of {issuer}"),
        }
    }
}

/// Weight of a finding.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The vault grants more than the mapping needs.
    Error,
    /// The service cannot work, or a role is of no use.
    Warning,
    /// It is unknown whether there is a problem.
    Unknown,
    /// No problem: something was left out of the comparison.
    Note,
}

/// A difference between the vault and the mapping.
#[derive(Serialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Weight.
    pub severity: Severity,
    /// Name of the kind of difference, for programs.
    pub reason: &'static str,
    /// The role, policy or identity.
    pub object: String,
    /// The difference, and how to remove it.
    pub message: String,
}
