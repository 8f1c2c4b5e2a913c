//! State of the fetches, for status and for the index.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::policy::{ClusterIssuer, FailedFetch, IssuerKeys};

/// State of all sources of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyStates {
    /// Issuer of this cluster's service accounts, and its keys.
    pub cluster: ClusterIssuer,
    /// Why the last fetch of the cluster's keys failed.
    pub cluster_error: Option<String>,
    /// Key sets by their URL. A URL that was not fetched yet is missing.
    pub urls: BTreeMap<String, KeySetState>,
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
    /// Time of the first fetch that failed since the last that did not.
    pub failing_since: Option<Timestamp>,
}

impl KeyStates {
    /// The keys that are in use.
    pub fn keys(&self) -> IssuerKeys {
        let urls = self.urls.iter();
        let urls = urls.filter_map(|(url, state)| Some((url.clone(), state.jwks.clone()?)));
        let failed = self.urls.iter().filter_map(|(url, state)| {
            let failed = FailedFetch {
                since: format!("{:.0}", state.failing_since?),
                error: state.error.clone()?,
            };
            Some((url.clone(), failed))
        });
        IssuerKeys {
            cluster: self.cluster.clone(),
            urls: urls.collect(),
            failed: failed.collect(),
        }
    }

    /// Whether the cluster's keys were fetched at least once, with or without success.
    pub fn have_tried_cluster(&self) -> bool {
        self.cluster.keys().is_some() || self.cluster_error.is_some()
    }

    /// Whether each of these URLs was fetched at least once, with or without success.
    pub fn have_tried<'u>(&self, urls: impl IntoIterator<Item = &'u String>) -> bool {
        urls.into_iter().all(|url| self.urls.contains_key(url))
    }
}
