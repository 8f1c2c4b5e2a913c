//! Public keys of token issuers, as they were last fetched. `runtime::issuer_keys` fetches them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys of all issuers whose keys are fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerKeys {
    /// Keys of this cluster's service accounts; `None` if they are not known.
    pub cluster: Option<ClusterKeys>,
    /// Why the last fetch of the cluster's keys failed.
    pub cluster_error: Option<String>,
    /// Key sets by their URL. A URL that was not fetched yet is missing.
    pub urls: BTreeMap<String, KeySetState>,
}

/// Keys of a cluster's service accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterKeys {
    /// Issuer of the service accounts' tokens.
    pub issuer: String,
    /// JSON Web Key Set of usable keys.
    pub jwks: Arc<str>,
}

/// A key set that is fetched from a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySetState {
    /// JSON Web Key Set of usable keys. `None` if it was never fetched, or not confirmed for too long: then no token of
    /// the issuer proves an identity.
    pub jwks: Option<Arc<str>>,
    /// Checksum of `jwks`, `sha256:` and 64 hexadecimal digits.
    pub checksum: Option<String>,
    /// Number of keys of the set that cannot or must not verify a token.
    pub dropped: usize,
    /// Why the last fetch failed. Earlier keys stay in use for a limited time.
    pub error: Option<String>,
}

impl IssuerKeys {
    /// Whether each of these URLs was fetched at least once, with or without success.
    pub fn have_tried<'u>(&self, urls: impl IntoIterator<Item = &'u String>) -> bool {
        urls.into_iter().all(|url| self.urls.contains_key(url))
    }
}
