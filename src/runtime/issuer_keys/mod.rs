//! Keys of token issuers: fetches those of this cluster's service accounts, and the key sets that identities name by
//! URL, again and again.
//!
//! The last good keys stay in use while a fetch fails. Keys that no fetch confirmed for
//! [`KeyOptions::expire_after`] are removed, which closes the identities of that issuer alone. Each source has a task
//! and a retry schedule of its own, so that a server that does not answer delays no other. This module checks no token
//! and contains no rule.

mod api_server;
mod fetched;
mod https;
mod known;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::runtime::operations::Metrics;

pub(crate) use api_server::fetch_issuer;
pub(crate) use fetched::FetchError;
pub use https::{Authorities, AuthoritiesError};
pub(crate) use https::{causes, within_limits};
use known::Known;
use source::{Fetchers, Source, Update};
pub use state::{KeySetState, KeyStates};

/// Updates that wait to be recorded.
const WAITING: usize = 16;

/// Options of the fetches.
#[derive(Clone, Debug)]
pub struct KeyOptions {
    /// Time between two fetches of the same keys, on average.
    pub poll: Duration,
    /// Timeout of a fetch, from the connection to the last byte.
    pub timeout: Duration,
    /// Time after which keys that no fetch confirmed are removed.
    pub expire_after: Duration,
    /// Certificate authorities of the servers.
    pub authorities: Authorities,
}

impl KeyOptions {
    /// Default time between two fetches of the same keys. Keys of an API server can change with each restart of it.
    pub const POLL: Duration = Duration::from_mins(5);
    /// Default timeout of a fetch.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// Default time after which keys that no fetch confirmed are removed.
    pub const EXPIRE_AFTER: Duration = Duration::from_hours(24);

    /// The defaults, with these authorities.
    pub fn new(authorities: Authorities) -> Self {
        Self {
            poll: Self::POLL,
            timeout: Self::TIMEOUT,
            expire_after: Self::EXPIRE_AFTER,
            authorities,
        }
    }
}

/// The running fetches. They end with this value.
#[derive(Debug)]
pub struct IssuerKeyFetcher {
    urls: watch::Sender<BTreeSet<String>>,
    keys: watch::Receiver<Arc<KeyStates>>,
}

impl IssuerKeyFetcher {
    /// Starts the fetches. With the client of an API server, its keys are fetched, too.
    pub fn start(
        options: &KeyOptions,
        api_server: Option<kube::Client>,
        clock: &Clock,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (urls, wanted) = watch::channel(BTreeSet::new());
        let has_api_server = api_server.is_some();
        let metrics = Arc::clone(metrics);
        let known = Known::new(options.expire_after, has_api_server, metrics, clock.clone());
        let (publisher, keys) = watch::channel(Arc::new(known.states()));
        let fetcher = Follower {
            known,
            fetchers: Fetchers::new(options, api_server, clock.clone()),
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            publisher,
        };
        tokio::spawn(fetcher.run(wanted, has_api_server));
        Self { urls, keys }
    }

    /// Sets the URLs to fetch. Keys of others are removed.
    pub fn set_urls(&self, urls: BTreeSet<String>) {
        self.urls.send_if_modified(|known| {
            let is_new = *known != urls;
            *known = urls;
            is_new
        });
    }

    /// State of all sources.
    pub fn states(&self) -> Arc<KeyStates> {
        Arc::clone(&self.keys.borrow())
    }

    /// Waits until the state changes.
    pub async fn changed(&mut self) {
        if self.keys.changed().await.is_err() {
            // The task ended, which it does only with this value.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until all wanted keys were fetched once, with or without success, for at most `limit`. Those of the API
    /// server are wanted `with_cluster`.
    pub async fn wait_for_first(&mut self, limit: Duration, with_cluster: bool) {
        let urls = self.urls.borrow().clone();
        let first = self.keys.wait_for(|keys| {
            keys.have_tried(&urls) && (!with_cluster || keys.have_tried_cluster())
        });
        // Later keys are used when they are there.
        let _ = tokio::time::timeout(limit, first).await;
    }
}

/// Follows the wanted URLs and the results of the fetches.
struct Follower {
    known: Known,
    fetchers: Fetchers,
    /// Tasks of the sources.
    running: BTreeMap<Source, tokio::task::AbortHandle>,
    tasks: JoinSet<()>,
    publisher: watch::Sender<Arc<KeyStates>>,
}

impl Follower {
    async fn run(mut self, mut wanted: watch::Receiver<BTreeSet<String>>, has_api_server: bool) {
        let (sender, mut updates) = mpsc::channel(WAITING);
        if has_api_server {
            self.follow(Source::ApiServer, &sender);
        }
        loop {
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let urls = wanted.borrow_and_update().clone();
                    self.want(urls, &sender);
                }
                update = updates.recv() => match update {
                    Some(Update { source, fetched }) if self.running.contains_key(&source) => {
                        self.known.record(&source, fetched);
                    }
                    _ => continue,
                },
                () = self.known.wait_for_expiry() => self.known.expire(),
            }
            let keys = self.known.states();
            self.publisher.send_if_modified(|known| {
                let is_new = **known != keys;
                if is_new {
                    *known = Arc::new(keys);
                }
                is_new
            });
        }
    }

    fn want(&mut self, urls: BTreeSet<String>, sender: &mpsc::Sender<Update>) {
        let wanted: BTreeSet<Source> = urls.into_iter().map(Source::Url).collect();
        let known: Vec<Source> = self.running.keys().cloned().collect();
        for source in known {
            if source != Source::ApiServer && !wanted.contains(&source) {
                self.known.remove(&source);
                if let Some(task) = self.running.remove(&source) {
                    task.abort();
                }
            }
        }
        for source in wanted {
            if !self.running.contains_key(&source) {
                self.follow(source, sender);
            }
        }
        // Tasks that ended are of no use.
        while self.tasks.try_join_next().is_some() {}
    }

    fn follow(&mut self, source: Source, sender: &mpsc::Sender<Update>) {
        let task = self.fetchers.follow(source.clone(), sender.clone());
        self.running.insert(source, self.tasks.spawn(task));
    }
}
