//! Whether the admission policy that guards the label of service accounts is in force: tries, by dry run, to set a
//! value that no service account can have. Nothing is written.
//!
//! A result counts until the next one, also while the API server does not answer: nobody can then change a label or the
//! policy. After [`MOST_FAILURES`] other failures nothing is known any more.

use std::collections::BTreeMap;
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
/// Refusals for another reason after which nothing is known.
const MOST_FAILURES: u32 = 3;
/// Values that no service account can have: their names have no `_`. There are two, because the guard lets an unchanged
/// label pass.
const WRONG_VALUES: [&str; 2] = ["vaultwall_probe", "vaultwall_probe_2"];

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
        let tried = is_refused(&client, &namespace).await;
        if let Err(error) = &tried {
            tracing::warn!(
                "cannot try whether the label {SERVICE_ACCOUNT_LABEL} of pods is guarded: {error}"
            );
        }
        if let Some(found) = found(&tried, &mut failures) {
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

/// The state after a try; `None`: the last one stays. `failures` counts those since the last result.
fn found(tried: &Result<bool, TryError>, failures: &mut u32) -> Option<AccountLabels> {
    match tried {
        Ok(is_refused) => {
            *failures = 0;
            Some(if *is_refused {
                AccountLabels::InForce
            } else {
                AccountLabels::NotInForce(NoAccountLabels::Unguarded)
            })
        }
        Err(error) => {
            *failures += u32::from(!error.is_unavailable());
            let unknown = AccountLabels::NotInForce(NoAccountLabels::Unknown);
            (*failures >= MOST_FAILURES).then_some(unknown)
        }
    }
}

fn log(state: AccountLabels) {
    match state {
        AccountLabels::InForce => tracing::info!(
            "the label {SERVICE_ACCOUNT_LABEL} of pods is guarded: NetworkPolicies of vaults with `denial: Drop` may \
             select it"
        ),
        AccountLabels::NotNeeded => {}
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

impl TryError {
    /// Whether the API server did not answer, or cannot serve requests now.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::NoPod => false,
            Self::Request(error) => error.code().is_none_or(|code| code == 429 || code >= 500),
        }
    }
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
    let value = wrong_value(pod.metadata.labels.as_ref());
    let name = pod.metadata.name.unwrap_or_default();
    let namespace = pod.metadata.namespace.unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"metadata": {"labels": {SERVICE_ACCOUNT_LABEL: value}}}));
    match answer(pods.patch_status(&name, &parameters, &patch)).await {
        Ok(_) => Ok(false),
        Err(RequestError::Api(kube::Error::Api(status))) if is_of_guard(&status.message) => {
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

/// A value that the pod does not have.
fn wrong_value(labels: Option<&BTreeMap<String, String>>) -> Option<&'static str> {
    let has = labels.and_then(|labels| labels.get(SERVICE_ACCOUNT_LABEL));
    let mut values = WRONG_VALUES.into_iter();
    values.find(|value| has.is_none_or(|has| has != value))
}

/// Whether a refusal is the guard's. The name alone proves nothing: a message names its pod, which may have the same
/// name.
fn is_of_guard(message: &str) -> bool {
    message.contains(&format!(
        "ValidatingAdmissionPolicy '{SERVICE_ACCOUNT_LABEL_POLICY}' with binding"
    ))
}

async fn first(pods: &Api<Pod>) -> Result<Option<PartialObjectMeta<Pod>>, RequestError> {
    let one = ListParams::default().limit(1);
    let list = answer(pods.list_metadata(&one)).await?;
    Ok(list.items.into_iter().next())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16) -> Result<bool, TryError> {
        let status = Status::failure("refused", "Refused").with_code(code);
        let error = kube::Error::Api(status.boxed());
        Err(TryError::Request(RequestError::Api(error)))
    }

    #[test]
    fn a_result_stays_while_the_api_server_is_away_but_not_without_permission() {
        let unknown = Some(AccountLabels::NotInForce(NoAccountLabels::Unknown));
        let mut failures = 0;
        let mut after = |tried| found(&tried, &mut failures);
        for _ in 0..2 * MOST_FAILURES {
            assert_eq!(after(refused(503)), None);
            assert_eq!(after(refused(429)), None);
            assert_eq!(after(Err(TryError::Request(RequestError::Slow))), None);
        }
        assert_eq!(after(refused(403)), None);
        assert_eq!(after(Err(TryError::NoPod)), None);
        assert_eq!(after(refused(404)), unknown);
        assert_eq!(after(Ok(true)), Some(AccountLabels::InForce));
        assert_eq!(after(refused(403)), None, "counted from the last result");
        let unguarded = AccountLabels::NotInForce(NoAccountLabels::Unguarded);
        assert_eq!(after(Ok(false)), Some(unguarded));
    }

    #[test]
    fn neither_the_name_nor_the_label_of_a_pod_gives_another_result() {
        for (message, expected) in [
            (
                "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'service-account-label.vaultwall.dev' with binding \
                 'service-account-label.vaultwall.dev' denied request: the label",
                true,
            ),
            (
                "pods \"service-account-label.vaultwall.dev\" not found",
                false,
            ),
        ] {
            assert_eq!(is_of_guard(message), expected, "{message}");
        }
        for value in ["web", WRONG_VALUES[0], WRONG_VALUES[1]] {
            let labels = BTreeMap::from([(SERVICE_ACCOUNT_LABEL.to_owned(), value.to_owned())]);
            let tried = wrong_value(Some(&labels));
            assert!(tried.is_some_and(|tried| tried != value), "{value}");
        }
        assert!(wrong_value(None).is_some());
    }
}
