//! Keys of each source, and when they were last confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::fetched::{FetchError, Fetched};
use super::source::Source;
use super::state::{KeySetState, KeyStates};
use crate::clock::{Clock, Uptime};
use crate::policy::key_set::{self, PublicKey};
use crate::policy::{ClusterIssuer, ClusterKeys};
use crate::runtime::operations::Metrics;

/// Keys of all sources.
pub(super) struct Known {
    has_cluster: bool,
    sources: BTreeMap<Source, KeySet>,
    expire_after: Duration,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// Keys of one source.
#[derive(Default)]
struct KeySet {
    /// Time of the last fetch that contained the key.
    keys: BTreeMap<PublicKey, Uptime>,
    issuer: Option<String>,
    dropped: usize,
    error: Option<String>,
    /// Time of the first fetch that failed since the last that did not.
    failing_since: Option<Timestamp>,
}

impl Known {
    pub(super) fn new(
        expire_after: Duration,
        has_cluster: bool,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        Self {
            has_cluster,
            sources: BTreeMap::new(),
            expire_after,
            metrics,
            clock,
        }
    }

    /// Records the result of a fetch. The last keys stay in use after one that failed.
    pub(super) fn record(&mut self, source: &Source, fetched: Result<Fetched, FetchError>) {
        let set = self.sources.entry(source.clone()).or_default();
        self.metrics.keys_fetched(source.kind(), fetched.is_ok());
        match fetched {
            Ok(fetched) => {
                set.failing_since = None;
                if set.error.take().is_some() {
                    tracing::info!("keys of {source} are fetched again");
                }
                // Replicas of an API server can differ while their keys are rotated, so its earlier keys stay.
                if *source != Source::ApiServer || set.issuer != fetched.issuer {
                    set.keys.clear();
                }
                let now = self.clock.uptime();
                set.keys
                    .extend(fetched.keys.keys.into_iter().map(|key| (key, now)));
                set.issuer = fetched.issuer;
                set.dropped = fetched.keys.dropped;
            }
            Err(error) => {
                let error = error.to_string();
                if set.error.as_ref() != Some(&error) {
                    tracing::warn!(
                        "keys of {source} cannot be fetched: {error}; {} earlier keys stay in use",
                        set.keys.len()
                    );
                }
                set.error = Some(error);
                let now = self.clock.now();
                set.failing_since.get_or_insert(now);
            }
        }
        self.expire();
    }

    /// Removes a source that nobody needs.
    pub(super) fn remove(&mut self, source: &Source) {
        self.sources.remove(source);
        self.count();
    }

    /// Removes the keys that were not confirmed for too long.
    pub(super) fn expire(&mut self) {
        let now = self.clock.uptime();
        for (source, set) in &mut self.sources {
            let had_keys = !set.keys.is_empty();
            let expire_after = self.expire_after;
            set.keys
                .retain(|_, confirmed| now.saturating_sub(*confirmed) < expire_after);
            if had_keys && set.keys.is_empty() {
                tracing::error!(
                    "keys of {source} were not confirmed for {} s: no token of its issuer proves an identity until \
                     they can be fetched",
                    expire_after.as_secs()
                );
            }
        }
        self.count();
    }

    /// Waits until the first keys expire.
    pub(super) async fn wait_for_expiry(&self) {
        let confirmed = self.sources.values().flat_map(|set| set.keys.values());
        match confirmed.min() {
            Some(first) => {
                let end = *first + self.expire_after;
                self.clock
                    .sleep(end.saturating_sub(self.clock.uptime()))
                    .await;
            }
            None => std::future::pending().await,
        }
    }

    /// State of all sources.
    pub(super) fn states(&self) -> KeyStates {
        let mut all = KeyStates::default();
        if !self.has_cluster {
            all.cluster = ClusterIssuer::None;
        }
        for (source, set) in &self.sources {
            let jwks = (!set.keys.is_empty()).then(|| key_set::to_jwks(set.keys.keys()));
            match source {
                Source::ApiServer => {
                    all.cluster = match (set.issuer.clone(), jwks) {
                        (None, _) => ClusterIssuer::Unknown,
                        (Some(issuer), None) => ClusterIssuer::WithoutKeys(issuer),
                        (Some(issuer), Some(jwks)) => {
                            ClusterIssuer::Known(ClusterKeys { issuer, jwks })
                        }
                    };
                    all.cluster_error.clone_from(&set.error);
                }
                Source::Url(url) => {
                    let state = KeySetState {
                        checksum: jwks.as_deref().map(key_set::checksum),
                        jwks,
                        dropped: set.dropped,
                        error: set.error.clone(),
                        failing_since: set.failing_since,
                    };
                    all.urls.insert(url.clone(), state);
                }
            }
        }
        all
    }

    /// Counts the sources in the metrics.
    fn count(&self) {
        let now = self.clock.uptime();
        let age = |set: &KeySet| {
            set.keys
                .values()
                .min()
                .map(|confirmed| now.saturating_sub(*confirmed))
        };
        for kind in Source::KINDS {
            let sets = self
                .sources
                .iter()
                .filter(|(source, _)| source.kind() == kind);
            let sets: Vec<&KeySet> = sets.map(|(_, set)| set).collect();
            let without = sets.iter().filter(|set| set.keys.is_empty()).count();
            let oldest = sets.iter().filter_map(|set| age(set)).max();
            let oldest = oldest.and_then(|age| {
                self.clock
                    .now()
                    .checked_sub(jiff::SignedDuration::try_from(age).ok()?)
                    .ok()
            });
            self.metrics
                .set_key_sets(kind, sets.len() - without, without, oldest);
        }
    }
}
