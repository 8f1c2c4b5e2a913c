//! Whether the admission policy that guards the label of service accounts is in force: tries, by dry run, to set a
//! value that no service account can have. Nothing is written.
//!
//! An answer of the API server counts until the next one. After [`MOST_FAILURES`] requests without one, nothing is
//! known any more.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::api::{SERVICE_ACCOUNT_LABEL, SERVICE_ACCOUNT_LABEL_POLICY};
use crate::policy::{AccountLabels, NoAccountLabels};
use crate::runtime::request::{RequestError, answer};

/// Time between two tries while the guard is in force.
const IN_FORCE: Duration = Duration::from_secs(10);
/// Time between two tries while it is not, so that its installation shows soon.
const NOT_IN_FORCE: Duration = Duration::from_secs(2);
/// Tries without an answer after which nothing is known.
const MOST_FAILURES: u32 = 3;
/// Value that no service account can have: their names have no `_`.
const WRONG_VALUE: &str = "vaultwall_probe";

/// State of the guard. The tries end with this value.
#[derive(Debug)]
pub(crate) struct LabelGuard {
    state: watch::Receiver<AccountLabels>,
    task: Option<AbortHandle>,
}

impl Drop for LabelGuard {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl LabelGuard {
    /// The guard of an installation that does not use the label.
    pub(crate) fn off() -> Self {
        let off = AccountLabels::NotInForce(NoAccountLabels::Off);
        let (_, state) = watch::channel(off);
        Self { state, task: None }
    }

    /// Starts the tries, if possible on a pod of `namespace`, the operator's own.
    pub(crate) fn start(client: Client, namespace: String) -> Self {
        let unknown = AccountLabels::NotInForce(NoAccountLabels::Unknown);
        let (sender, state) = watch::channel(unknown);
        let task = tokio::spawn(follow(client, namespace, sender)).abort_handle();
        Self {
            state,
            task: Some(task),
        }
    }

    /// The last known state.
    pub(crate) fn state(&self) -> AccountLabels {
        *self.state.borrow()
    }

    /// Waits until the state changes.
    pub(crate) async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            // There is no task, or it ended with this value.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the state is known, for at most `limit`.
    pub(crate) async fn wait_for_first(&mut self, limit: Duration) {
        let unknown = AccountLabels::NotInForce(NoAccountLabels::Unknown);
        let known = self.state.wait_for(|state| *state != unknown);
        // A later answer is used when it is there.
        let _ = tokio::time::timeout(limit, known).await;
    }
}

async fn follow(client: Client, namespace: String, state: watch::Sender<AccountLabels>) {
    let mut failures = 0;
    loop {
        let found = match is_refused(&client, &namespace).await {
            Ok(is_refused) => {
                failures = 0;
                Some(if is_refused {
                    AccountLabels::InForce
                } else {
                    AccountLabels::NotInForce(NoAccountLabels::Unguarded)
                })
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(
                    "cannot try whether the label {SERVICE_ACCOUNT_LABEL} of pods is guarded: {error}"
                );
                let unknown = AccountLabels::NotInForce(NoAccountLabels::Unknown);
                (failures >= MOST_FAILURES).then_some(unknown)
            }
        };
        if let Some(found) = found {
            state.send_if_modified(|known| {
                let is_new = *known != found;
                if is_new {
                    log(found);
                }
                *known = found;
                is_new
            });
        }
        let is_in_force = *state.borrow() == AccountLabels::InForce;
        tokio::time::sleep(if is_in_force { IN_FORCE } else { NOT_IN_FORCE }).await;
    }
}

fn log(state: AccountLabels) {
    match state {
        AccountLabels::InForce => tracing::info!(
            "the label {SERVICE_ACCOUNT_LABEL} of pods is guarded: NetworkPolicies of vaults with `denial: Drop` may \
             select it"
        ),
        AccountLabels::NotInForce(why) => tracing::warn!(
            "no NetworkPolicy selects the label {SERVICE_ACCOUNT_LABEL}, so vaults with `denial: Drop` drop the \
             packets of trusted services: {why}"
        ),
    }
}

/// Reason why a try has no result.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("there is no pod to try it on")]
    NoPod,
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Tries to set the value; returns whether the admission policy refused it.
async fn is_refused(client: &Client, namespace: &str) -> Result<bool, TryError> {
    let own: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = match first(&own).await? {
        Some(pod) => pod,
        None => first(&Api::all(client.clone()))
            .await?
            .ok_or(TryError::NoPod)?,
    };
    let name = pod.metadata.name.unwrap_or_default();
    let namespace = pod.metadata.namespace.unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"metadata": {"labels": {SERVICE_ACCOUNT_LABEL: WRONG_VALUE}}}));
    match answer(pods.patch_status(&name, &parameters, &patch)).await {
        Ok(_) => Ok(false),
        Err(RequestError::Api(kube::Error::Api(status)))
            if status.message.contains(SERVICE_ACCOUNT_LABEL_POLICY) =>
        {
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

async fn first(pods: &Api<Pod>) -> Result<Option<PartialObjectMeta<Pod>>, RequestError> {
    let one = ListParams::default().limit(1);
    let list = answer(pods.list_metadata(&one)).await?;
    Ok(list.items.into_iter().next())
}
