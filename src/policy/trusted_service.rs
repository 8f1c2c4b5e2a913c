//! Valid trusted services and identities. Only [`super::validate`] makes them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::identity::ObjectName;

/// A valid `TrustedService`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedTrustedService {
    /// Name of the service, unique in the cluster.
    pub name: Arc<str>,
    /// Supported usage scenarios with unique names, at least one.
    pub scenarios: Vec<ValidatedScenario>,
    /// Identities that are mapped to the service.
    pub identities: Vec<ServiceIdentity>,
}

/// A usage scenario with at least one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedScenario {
    /// Name of the scenario, unique in its service.
    pub name: String,
    /// Operations by the names of Azure Key Vault, such as `secrets/get`.
    pub operations: BTreeSet<String>,
}

/// An identity that a caller can prove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceIdentity {
    /// A service account of this cluster.
    ServiceAccount(ObjectName),
    /// A service account of this name in every namespace of the vault's subscription.
    RegisteredResource(String),
    /// A token of another issuer.
    FederatedCredential(FederatedIdentity),
}

impl ServiceIdentity {
    /// Whether its keys are fetched from a URL.
    pub fn has_key_url(&self) -> bool {
        match self {
            Self::FederatedCredential(credential) => matches!(credential.keys, KeySource::Url(_)),
            Self::ServiceAccount(_) | Self::RegisteredResource(_) => false,
        }
    }
}

/// A federated identity credential.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FederatedIdentity {
    /// Issuer of the token, an https URL.
    pub issuer: String,
    /// Subject of the token.
    pub subject: String,
    /// Audiences, of which the token needs one; at least one.
    pub audiences: BTreeSet<String>,
    /// Where the issuer's public keys are.
    pub keys: KeySource,
}

/// Where public keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeySource {
    /// In the object: a JSON Web Key Set of usable keys, as JSON with sorted members.
    Inline(Arc<str>),
    /// At an https URL, from which the operator fetches them.
    Url(String),
}

impl fmt::Display for ServiceIdentity {
    /// Writes the field of the spec and the identity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(account) => write!(f, "serviceAccount {account}"),
            Self::RegisteredResource(name) => write!(f, "registeredResource {name}"),
            Self::FederatedCredential(credential) => write!(
                f,
                "federatedCredential {} {}",
                credential.issuer, credential.subject
            ),
        }
    }
}
