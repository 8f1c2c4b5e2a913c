//! Public keys of token issuers, as they were fetched. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys in use: those that were confirmed recently enough. All key sets passed [`super::key_set`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerKeys {
    /// Issuer of this cluster's service accounts; `None` if its keys are not known.
    pub cluster: Option<ClusterKeys>,
    /// Key sets of federated issuers, by their URL.
    pub urls: BTreeMap<String, Arc<str>>,
}

/// Keys of the API server, for tokens of service accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterKeys {
    /// Issuer of the tokens (claim `iss`).
    pub issuer: String,
    /// JSON Web Key Set.
    pub jwks: Arc<str>,
}
