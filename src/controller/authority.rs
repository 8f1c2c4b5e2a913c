//! The operator's certificate authority as it is stored: one Secret for all replicas, in the operator's own namespace.
//!
//! Whoever comes first creates it. Deleting it makes a new one, and new certificates of everybody follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{TryStreamExt, pin_mut};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use tokio::sync::watch;

use super::certificates::{Authority, CertificateError};
use super::clock::Clock;
use super::operations::{Metrics, WriteResult};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::xds::{Credentials, CredentialsError};

/// Name of the Secret.
const SECRET: &str = "vaultwall-ca";
/// Field manager of the Secret.
const FIELD_MANAGER: &str = "vaultwall-ca";
/// How often it is looked whether this replica's own certificate is to be renewed.
const LOOK: Duration = Duration::from_hours(1);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The API server says no.
    #[error(
        "the Secret {namespace}/{SECRET}, which holds the operator's certificate authority: {source}"
    )]
    Api {
        /// The operator's namespace.
        namespace: String,
        /// What it says.
        source: Box<kube::Error>,
    },
    /// What is in the Secret cannot be used.
    #[error(
        "the Secret {namespace}/{SECRET} holds no usable certificate authority: {source}; delete it, and a new one is made"
    )]
    Unusable {
        /// The operator's namespace.
        namespace: String,
        /// What is wrong.
        source: CertificateError,
    },
    /// A certificate cannot be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What was made cannot be used for TLS.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

/// Where the authority is, and how to use it.
pub(super) struct AuthorityStore {
    client: Client,
    namespace: String,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl AuthorityStore {
    pub(super) fn new(
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

    fn failed(&self, source: kube::Error) -> AuthorityError {
        AuthorityError::Api {
            namespace: self.namespace.clone(),
            source: Box::new(source),
        }
    }

    fn read(&self, data: &BTreeMap<String, ByteString>) -> Result<Authority, AuthorityError> {
        Authority::from_secret_data(data).map_err(|source| AuthorityError::Unusable {
            namespace: self.namespace.clone(),
            source,
        })
    }

    /// The authority that is stored; makes it if there is none.
    pub(super) async fn load(&self) -> Result<Authority, AuthorityError> {
        loop {
            let stored = self.api().get_opt(SECRET).await;
            if let Some(secret) = stored.map_err(|error| self.failed(error))? {
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
            let answer = self.api().create(&parameters, &secret).await;
            self.metrics.wrote("Secret", WriteResult::of(&answer));
            match answer {
                Ok(_) => {
                    tracing::info!(
                        "made a certificate authority, in the Secret {}/{SECRET}",
                        self.namespace
                    );
                    return Ok(new);
                }
                // Another replica was faster.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Follows the Secret for as long as the receiver is there.
    pub(super) async fn follow(self, authority: watch::Sender<Arc<Authority>>) {
        let only = watcher::Config::default().fields(&format!("metadata.name={SECRET}"));
        let stream = watcher(self.api(), only).default_backoff();
        pin_mut!(stream);
        loop {
            match stream.try_next().await {
                Ok(Some(watcher::Event::Apply(secret) | watcher::Event::InitApply(secret))) => {
                    match self.read(&secret.data.unwrap_or_default()) {
                        Ok(new) => {
                            self.metrics.set_authority_expiry(new.not_after());
                            authority.send_if_modified(|known| {
                                let is_new = known.ca_pem() != new.ca_pem();
                                if is_new {
                                    *known = Arc::new(new);
                                }
                                is_new
                            });
                        }
                        Err(error) => tracing::error!("{error}; the earlier one stays in use"),
                    }
                }
                Ok(Some(watcher::Event::Delete(_))) => match self.load().await {
                    Ok(new) => {
                        authority.send_replace(Arc::new(new));
                    }
                    Err(error) => tracing::error!("{error}; the earlier one stays in use"),
                },
                Ok(Some(watcher::Event::Init | watcher::Event::InitDone)) => {}
                Ok(None) => return,
                Err(error) => tracing::warn!(
                    "the watch of the Secret {SECRET} was interrupted and goes on: {error}"
                ),
            }
            if authority.is_closed() {
                return;
            }
        }
    }
}

/// This replica's own certificate, issued by the authority of now.
pub(super) fn credentials(
    authority: &Authority,
    names: &[String],
    clock: &Clock,
) -> Result<Credentials, AuthorityError> {
    let issued = authority.replica(names, clock.now())?;
    Ok(authority.credentials(&issued)?)
}

/// Issues this replica's certificate again when the authority changes, and long before it runs out.
pub(super) async fn keep_credentials(
    mut authority: watch::Receiver<Arc<Authority>>,
    names: Vec<String>,
    clock: Clock,
    credentials: watch::Sender<Arc<Credentials>>,
) {
    let mut issued = clock.now();
    loop {
        let changed = tokio::select! {
            changed = authority.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            () = clock.sleep(LOOK) => false,
            () = credentials.closed() => return,
        };
        let due = super::clock::after(issued, super::certificates::LEAF_LIFE / 3);
        if !changed && clock.now() < due {
            continue;
        }
        let current = authority.borrow_and_update().clone();
        match self::credentials(&current, &names, &clock) {
            Ok(new) => {
                issued = clock.now();
                credentials.send_replace(Arc::new(new));
            }
            Err(error) => tracing::error!("{error}; the earlier certificate stays in use"),
        }
    }
}
