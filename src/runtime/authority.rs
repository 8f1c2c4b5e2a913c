//! Storage of the operator's certificate authority: one Secret for all replicas, in the operator's own namespace.
//!
//! The first replica creates it. After a deletion a replica creates a new one, and all certificates are issued again.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;

use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::clock::Clock;
use crate::runtime::operations::{Metrics, WriteResult};
use crate::runtime::reflector::{Change, Reflector};
use crate::runtime::request::{self, RequestError};
use crate::transport::certificates::{Authority, CertificateError};
use crate::transport::{Credentials, CredentialsError};

/// Name of the Secret in the operator's namespace.
const SECRET: &str = "vaultwall-ca";
/// Field manager of the Secret, as `managedFields` shows it.
const FIELD_MANAGER: &str = "vaultwall-ca";
/// Interval of the checks whether this replica's own certificate must be renewed.
const RENEWAL_CHECK: Duration = Duration::from_hours(1);
/// Wait before a failed step is retried.
const RETRY: Duration = Duration::from_secs(5);

/// Reason why there is no certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The API server refused the request, or did not answer in time.
    #[error(
        "the Secret {namespace}/{SECRET}, which holds the operator's certificate authority, cannot be {done}: \
         {source}; {}",
        remedy(.source, .namespace)
    )]
    Api {
        /// The operator's namespace.
        namespace: String,
        /// Operation on the Secret, as a past participle: `read`, `created`.
        done: &'static str,
        /// The API server's answer.
        source: Box<RequestError>,
    },
    /// The content of the Secret cannot be used; the source has the remedy.
    #[error("the Secret {namespace}/{SECRET} holds no usable certificate authority: {source}")]
    Unusable {
        /// The operator's namespace.
        namespace: String,
        /// The defect of the content.
        source: CertificateError,
    },
    /// A certificate cannot be issued.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The issued certificate cannot be used for TLS.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// Remedy for an error answer.
fn remedy(error: &RequestError, namespace: &str) -> String {
    match error.code() {
        Some(404) => format!(
            "create the namespace (kubectl create namespace {namespace}), or name another one with --own-namespace"
        ),
        Some(403) => format!(
            "grant the operator its permissions for Secrets, and check whether the namespace \
             {namespace} is being deleted or exceeds a quota"
        ),
        _ => "check that the API server runs, and that no proxy or firewall on the way delays its answers"
            .to_owned(),
    }
}

/// Reads, creates and watches the Secret of the authority.
pub(crate) struct AuthorityStore {
    client: Client,
    namespace: String,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl AuthorityStore {
    pub(crate) fn new(
        client: Client,
        namespace: String,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            namespace,
            clock,
            metrics,
        }
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits for the API server's answer. `done` is the operation on the Secret.
    async fn answer<T>(
        &self,
        done: &'static str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, AuthorityError> {
        request::answer(request)
            .await
            .map_err(|source| AuthorityError::Api {
                namespace: self.namespace.clone(),
                done,
                source: Box::new(source),
            })
    }

    fn read(&self, data: &BTreeMap<String, ByteString>) -> Result<Authority, AuthorityError> {
        Authority::from_secret_data(data).map_err(|source| AuthorityError::Unusable {
            namespace: self.namespace.clone(),
            source,
        })
    }

    /// Returns the stored authority; creates it if there is none.
    pub(crate) async fn load(&self) -> Result<Authority, AuthorityError> {
        loop {
            let stored = self.answer("read", self.api().get_opt(SECRET)).await?;
            if let Some(secret) = stored {
                return self.read(&secret.data.unwrap_or_default());
            }
            let new = Authority::generate(self.clock.now())?;
            let labels = [(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())];
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(SECRET.to_owned()),
                    namespace: Some(self.namespace.clone()),
                    labels: Some(labels.into()),
                    ..ObjectMeta::default()
                },
                type_: Some("Opaque".to_owned()),
                data: Some(new.secret_data()),
                ..Secret::default()
            };
            let parameters = PostParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            let api = self.api();
            let create = async {
                let answer = api.create(&parameters, &secret).await;
                self.metrics.wrote("Secret", WriteResult::of(&answer));
                answer
            };
            match self.answer("created", create).await {
                Ok(_) => {
                    tracing::info!(
                        "created a certificate authority, in the Secret {}/{SECRET}",
                        self.namespace
                    );
                    return Ok(new);
                }
                // Another replica was faster.
                Err(AuthorityError::Api { source, .. }) if source.code() == Some(409) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Follows the Secret until the receiver is dropped.
    pub(crate) async fn follow(self, authority: watch::Sender<Arc<Authority>>) {
        tokio::select! {
            () = self.follow_stream(&authority) => {}
            () = authority.closed() => {}
        }
    }

    async fn follow_stream(&self, authority: &watch::Sender<Arc<Authority>>) {
        let only = watcher::Config::default().fields(&format!("metadata.name={SECRET}"));
        let mut secrets = Reflector::new("Secret", self.api(), only, Arc::clone(&self.metrics));
        while let Some(change) = secrets.next().await {
            match change {
                Change::Applied(secret) => match self.read(&secret.data.unwrap_or_default()) {
                    Ok(new) => self.accept(new, authority),
                    Err(error) => {
                        tracing::error!("{error}; the previous authority stays in use");
                    }
                },
                Change::Deleted(_, Some(_)) => self.reload(authority).await,
                // Every list without the Secret, because it may have been deleted while no watch ran.
                Change::Listed(names) if names.is_empty() => self.reload(authority).await,
                Change::Deleted(_, None) | Change::Listed(_) => {}
            }
        }
    }

    /// Reads or creates the Secret, and retries until that succeeds.
    async fn reload(&self, authority: &watch::Sender<Arc<Authority>>) {
        loop {
            match self.load().await {
                Ok(new) => return self.accept(new, authority),
                Err(error) => {
                    tracing::error!("{error}; the previous authority stays in use; retrying");
                }
            }
            self.clock.sleep(RETRY).await;
        }
    }

    fn accept(&self, new: Authority, authority: &watch::Sender<Arc<Authority>>) {
        self.metrics.set_authority_expiry(new.not_after());
        authority.send_if_modified(|known| {
            let is_new = !known.is_same_as(&new);
            if is_new {
                *known = Arc::new(new);
            }
            is_new
        });
    }
}

/// Issues this replica's own certificate with the current authority.
pub(crate) fn credentials(
    authority: &Authority,
    names: &[String],
    clock: &Clock,
) -> Result<Credentials, AuthorityError> {
    let issued = authority.replica(names, clock.now())?;
    Ok(authority.credentials(&issued)?)
}

/// Issues this replica's certificate again when the authority changes, and long before it expires.
pub(crate) async fn keep_credentials(
    authority: watch::Receiver<Arc<Authority>>,
    names: Vec<String>,
    clock: Clock,
    credentials: watch::Sender<Arc<Credentials>>,
) {
    let issue = |authority: &Authority| self::credentials(authority, &names, &clock);
    keep(authority, issue, &clock, credentials).await;
}

async fn keep(
    mut authority: watch::Receiver<Arc<Authority>>,
    issue: impl Fn(&Authority) -> Result<Credentials, AuthorityError>,
    clock: &Clock,
    credentials: watch::Sender<Arc<Credentials>>,
) {
    let mut issued = clock.now();
    let mut failed = false;
    loop {
        let changed = tokio::select! {
            changed = authority.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = clock.sleep(if failed { RETRY } else { RENEWAL_CHECK }) => false,
            () = credentials.closed() => return,
        };
        let due = crate::clock::after(issued, crate::transport::certificates::LEAF_LIFE / 3);
        if !changed && !failed && clock.now() < due {
            continue;
        }
        let current = authority.borrow_and_update().clone();
        match issue(&current) {
            Ok(new) => {
                failed = false;
                issued = clock.now();
                credentials.send_replace(Arc::new(new));
            }
            Err(error) => {
                failed = true;
                tracing::error!("{error}; the previous certificate stays in use; retrying");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use jiff::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_failed_certificate_is_retried_soon() {
        let now = Timestamp::now();
        let (clock, control) = Clock::settable(now);
        let first = Authority::generate(now).unwrap();
        let issued = Arc::new(credentials(&first, &[], &clock).unwrap());
        let (authority, followed) = watch::channel(Arc::new(first));
        let (sender, mut receiver) = watch::channel(issued);
        let attempts = Arc::new(AtomicUsize::new(0));
        let (kept, count) = (clock.clone(), Arc::clone(&attempts));
        let keeping = tokio::spawn(async move {
            let issue = |authority: &Authority| {
                if count.fetch_add(1, Ordering::Relaxed) == 0 {
                    return Err(CertificateError::NoPair.into());
                }
                credentials(authority, &[], &kept)
            };
            keep(followed, issue, &kept, sender).await;
        });
        authority.send_replace(Arc::new(Authority::generate(now).unwrap()));
        while attempts.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!receiver.has_changed().unwrap());
        // The task may start to wait a little later.
        while !receiver.has_changed().unwrap() {
            control.advance(RETRY);
            tokio::task::yield_now().await;
            assert!(clock.now() < crate::clock::after(now, RENEWAL_CHECK));
        }
        receiver.borrow_and_update();
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
        drop(authority);
        keeping.await.unwrap();
    }

    #[test]
    fn every_error_of_the_api_server_has_a_remedy() {
        let failed = |source| {
            let error = AuthorityError::Api {
                namespace: "vaultwall".to_owned(),
                done: "created",
                source: Box::new(source),
            };
            error.to_string()
        };
        let message = |code: u16| {
            let status = kube::core::Status {
                code,
                message: "no".to_owned(),
                ..kube::core::Status::default()
            };
            failed(RequestError::Api(kube::Error::Api(Box::new(status))))
        };
        assert!(message(404).contains("kubectl create namespace vaultwall"));
        assert!(message(403).contains("permissions for Secrets"));
        assert!(message(500).contains("check that the API server runs"));
        assert_eq!(
            failed(RequestError::Slow),
            "the Secret vaultwall/vaultwall-ca, which holds the operator's certificate authority, cannot be created: \
             no answer in 10 s; check that the API server runs, and that no proxy or firewall on the way delays its \
             answers"
        );
        let unusable = AuthorityError::Unusable {
            namespace: "vaultwall".to_owned(),
            source: CertificateError::NoPair,
        };
        assert_eq!(
            unusable.to_string().matches("a new ").count(),
            1,
            "{unusable}"
        );
    }
}
