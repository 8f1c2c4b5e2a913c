//! Keys of token issuers: which of them are fetched, and from when on they are used.

use std::time::Duration;

use super::Engine;
use crate::index::Kind;
use crate::runtime::issuer_keys::IssuerKeyFetcher;
use crate::runtime::watch::Event;

/// Kinds of objects that name issuers.
const KINDS: [Kind; 2] = [Kind::TrustedService, Kind::VaultNetworkPolicy];
/// Longest wait for the first keys, so that a start removes no identity whose keys can be fetched; also for the first
/// state of the label's guard.
pub(super) const FIRST: Duration = Duration::from_secs(5);

/// Whether events can change which keys are needed.
pub(super) fn are_concerned(events: &[Event]) -> bool {
    events
        .iter()
        .any(|event| KINDS.contains(&event.seen.kind()))
}

impl Engine {
    /// Uses the newest keys. Before the first firewalls are published, waits until those that are needed were fetched.
    pub(super) async fn use_keys(&mut self, keys: &mut IssuerKeyFetcher) {
        if !*self.synced.borrow() && self.not_listed.is_empty() {
            let with_cluster = self.index.needs_cluster_issuer();
            keys.wait_for_first(FIRST, with_cluster).await;
        }
        self.index.set_keys(keys.states().keys());
    }
}
