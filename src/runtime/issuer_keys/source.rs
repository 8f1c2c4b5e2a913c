//! Sources of keys, and the task that fetches from one of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::KeyOptions;
use super::api_server;
use super::fetched::{FetchError, Fetched};
use super::https::HttpsClient;
use crate::clock::Clock;
use crate::policy::key_set;

/// Fetches at the same time. A server that does not answer takes one for the length of the timeout.
const CONCURRENT: usize = 64;
/// Time until the first retry; it doubles with each failure, up to the time between two fetches.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// A source of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The API server.
    ApiServer,
    /// An https URL.
    Url(String),
}

impl Source {
    /// Kinds of sources in the metrics.
    pub(super) const KINDS: [&str; 2] = ["api-server", "url"];

    /// Kind of the source in the metrics.
    pub(super) fn kind(&self) -> &'static str {
        let [api_server, url] = Self::KINDS;
        match self {
            Self::ApiServer => api_server,
            Self::Url(_) => url,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiServer => f.write_str("the cluster's service accounts"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// Result of a fetch from a source.
pub(super) struct Update {
    pub(super) source: Source,
    pub(super) fetched: Result<Fetched, FetchError>,
}

/// Shared by the tasks of all sources.
#[derive(Clone)]
pub(super) struct Fetchers {
    https: HttpsClient,
    api_server: Option<kube::Client>,
    slots: Arc<Semaphore>,
    poll: Duration,
    timeout: Duration,
    clock: Clock,
}

impl Fetchers {
    pub(super) fn new(
        options: &KeyOptions,
        api_server: Option<kube::Client>,
        clock: Clock,
    ) -> Self {
        Self {
            https: HttpsClient::new(&options.authorities),
            api_server,
            slots: Arc::new(Semaphore::new(CONCURRENT)),
            poll: options.poll,
            timeout: options.timeout,
            clock,
        }
    }

    /// Fetches from a source until nobody receives the results.
    pub(super) fn follow(
        &self,
        source: Source,
        sender: mpsc::Sender<Update>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        async move {
            let mut failures = 0;
            loop {
                let fetched = this.fetch(&source).await;
                failures = if fetched.is_ok() { 0 } else { failures + 1 };
                let update = Update {
                    source: source.clone(),
                    fetched,
                };
                if sender.send(update).await.is_err() {
                    return;
                }
                let jitter = 0.9 + 0.2 * fastrand::f64();
                let pause = pause(this.poll, failures).mul_f64(jitter);
                this.clock.sleep(pause).await;
            }
        }
    }

    async fn fetch(&self, source: &Source) -> Result<Fetched, FetchError> {
        // It is never closed.
        let _slot = self.slots.acquire().await;
        match (source, &self.api_server) {
            (Source::Url(url), _) => {
                let body = self.https.get(url, self.timeout).await?;
                Ok(Fetched {
                    issuer: None,
                    keys: key_set::read(&body).map_err(FetchError::Content)?,
                })
            }
            (Source::ApiServer, Some(client)) => api_server::fetch(client, self.timeout).await,
            (Source::ApiServer, None) => Err(FetchError::Content("there is no API server".into())),
        }
    }
}

/// Time until the next fetch after so many failures in a row.
fn pause(poll: Duration, failures: u32) -> Duration {
    match failures {
        0 => poll,
        failures => FIRST_RETRY
            .saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX))
            .min(poll),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_become_rarer_until_they_are_as_rare_as_fetches() {
        let poll = Duration::from_mins(5);
        let seconds = [0, 1, 2, 3, 7, 40, u32::MAX].map(|failures| pause(poll, failures).as_secs());
        assert_eq!(seconds, [300, 5, 10, 20, 300, 300, 300]);
        assert_eq!(pause(Duration::from_secs(2), 1).as_secs(), 2);
    }
}
