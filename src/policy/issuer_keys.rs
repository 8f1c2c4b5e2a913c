//! Public keys of token issuers, as they were fetched. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::token::SERVICE_ACCOUNT;

/// Keys in use: those that were confirmed recently enough. All key sets passed [`super::key_set`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerKeys {
    /// This cluster's issuer.
    pub cluster: ClusterIssuer,
    /// Key sets of federated issuers, by their URL.
    pub urls: BTreeMap<String, Arc<str>>,
    /// URLs whose last fetch failed. Their earlier keys, if any, are in use.
    pub failed: BTreeMap<String, FailedFetch>,
}

/// Fetches of a key set that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedFetch {
    /// Time of the first of them, in the form of RFC 3339.
    pub since: String,
    /// Reason of the last one.
    pub error: String,
}

/// Issuer of this cluster's service accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClusterIssuer {
    /// There is no cluster.
    None,
    /// It was never fetched, so any issuer may be it.
    #[default]
    Unknown,
    /// Its keys are not known, or were not confirmed for too long.
    WithoutKeys(String),
    /// Its keys are known.
    Known(ClusterKeys),
}

impl ClusterIssuer {
    /// The keys in use.
    pub fn keys(&self) -> Option<&ClusterKeys> {
        match self {
            Self::Known(keys) => Some(keys),
            Self::None | Self::Unknown | Self::WithoutKeys(_) => None,
        }
    }

    /// The issuer, if it is known.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Known(keys) => Some(&keys.issuer),
            Self::WithoutKeys(issuer) => Some(issuer),
            Self::None | Self::Unknown => None,
        }
    }

    /// Whether a token of an issuer with a subject can be one of this cluster. While its issuer is unknown, that is
    /// every token of a service account: the API server signs no token with another subject. So an API server that
    /// refuses to name its issuer closes no identity of an issuer that has no service accounts.
    pub fn can_be(&self, issuer: &str, subject: &str) -> bool {
        match self {
            Self::None => false,
            Self::Unknown => subject.starts_with(SERVICE_ACCOUNT),
            Self::WithoutKeys(_) | Self::Known(_) => self.name() == Some(issuer),
        }
    }
}

/// Keys of the API server, for tokens of service accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterKeys {
    /// Issuer of the tokens (claim `iss`).
    pub issuer: String,
    /// JSON Web Key Set.
    pub jwks: Arc<str>,
}
