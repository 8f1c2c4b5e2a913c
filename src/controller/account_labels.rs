//! Labels of pods with their service account, set by the leader: on pods from the time before the admission policy that
//! sets it, on pods of accounts with long names, and on all pods of trusted services where the API server has no such
//! policy ([decision 37](../../docs/decisions/0037-service-account-label.md)).
//!
//! The operator may write `pods/status` only, which accepts labels and leaves the spec as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Notify;

use crate::api::SERVICE_ACCOUNT_LABEL;
use crate::index::{LabelCorrection, ObjectName};
use crate::runtime::leader::{Lost, Term};
use crate::runtime::operations::Metrics;
use crate::runtime::queue::{self, Outcome, Queue, Rules};
use crate::runtime::write::{WriteError, write};

/// Pods that are labelled at a time.
const SLOTS: usize = 4;
/// Kind in the metric of writes.
const METRIC: &str = "Pod";

/// The only stage of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Label,
}

/// Pods whose label has to be set.
#[derive(Debug, Default)]
pub(crate) struct PodLabels {
    entries: Mutex<Entries>,
    queued: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    corrections: BTreeMap<ObjectName, LabelCorrection>,
    queue: BTreeSet<ObjectName>,
}

impl PodLabels {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Every update leaves consistent entries, so a poisoned lock is safe to use.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the corrections that changed; none: the pod needs no correction.
    pub(crate) fn set(&self, changed: Vec<(ObjectName, Option<LabelCorrection>)>) {
        if changed.is_empty() {
            return;
        }
        let mut entries = self.entries();
        for (pod, correction) in changed {
            if let Some(correction) = correction {
                entries.queue.insert(pod.clone());
                entries.corrections.insert(pod, correction);
            } else {
                entries.corrections.remove(&pod);
                // Nobody empties the queue of a replica that does not lead.
                entries.queue.remove(&pod);
            }
        }
        drop(entries);
        self.queued.notify_one();
    }

    fn get(&self, pod: &ObjectName) -> Option<LabelCorrection> {
        self.entries().corrections.get(pod).cloned()
    }

    fn enqueue_all(&self) {
        let mut entries = self.entries();
        entries.queue = entries.corrections.keys().cloned().collect();
        drop(entries);
        self.queued.notify_one();
    }

    /// Waits until the queue is not empty, and empties it.
    #[expect(
        clippy::zero_sized_map_values,
        reason = "a queue has a stage for each key, and pods have one stage"
    )]
    async fn next_queued(&self) -> BTreeMap<ObjectName, Stage> {
        loop {
            let queue = std::mem::take(&mut self.entries().queue);
            if !queue.is_empty() {
                return queue.into_iter().map(|pod| (pod, Stage::Label)).collect();
            }
            self.queued.notified().await;
        }
    }
}

/// Sets the labels.
pub(crate) struct Reconciler {
    pub(crate) pods: Arc<PodLabels>,
    pub(crate) client: Client,
    pub(crate) metrics: Arc<Metrics>,
}

impl Reconciler {
    /// Labels every pod that needs it, until the term is over.
    pub(crate) async fn run(&self, term: &Term) -> Lost {
        self.pods.enqueue_all();
        let queue = Queue::new(Rules {
            stages: &[Stage::Label],
            slots: SLOTS,
            flow: |pod: &ObjectName| &pod.namespace,
        });
        let changes = || self.pods.next_queued();
        let reconcile = |pod: ObjectName, _| async move { self.reconcile(&pod, term).await };
        queue::run(queue, changes, reconcile).await
    }

    async fn reconcile(&self, pod: &ObjectName, term: &Term) -> Result<Outcome, Lost> {
        let Some(correction) = self.pods.get(pod) else {
            return Ok(Outcome::Done);
        };
        let LabelCorrection { uid, value, wrong } = correction;
        if let Some(wrong) = wrong {
            let right = value
                .as_deref()
                .unwrap_or("none, because the pod has no service account");
            tracing::warn!(
                %pod,
                "the pod has the label {SERVICE_ACCOUNT_LABEL}={wrong} of another service account; correcting it to \
                 {right}"
            );
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        // With another uid the API server refuses the patch: the pod is a later one of the same name.
        let patch = Patch::Merge(json!({
            "metadata": {"uid": uid, "labels": {SERVICE_ACCOUNT_LABEL: value}},
        }));
        let parameters = PatchParams::default();
        let request = pods.patch_status(&pod.name, &parameters, &patch);
        match write(term, &self.metrics, METRIC, request).await {
            Ok(_) => Ok(Outcome::Done),
            Err(WriteError::Api(kube::Error::Api(status))) if is_deleted(&status) => {
                Ok(Outcome::Done)
            }
            Err(WriteError::Lost(lost)) => Err(lost),
            Err(WriteError::Api(error)) => {
                tracing::error!(%pod, "cannot set the label {SERVICE_ACCOUNT_LABEL}: {error}; retrying");
                Ok(Outcome::Failed)
            }
        }
    }
}

/// Whether the pod was deleted. A later pod of the same name has another uid, which a patch cannot change; the event of
/// that pod enqueues it.
fn is_deleted(status: &Status) -> bool {
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 404 || (status.code == 422 && causes.any(|cause| cause.field == "metadata.uid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_does_not_lead_keeps_no_pod_that_is_as_it_should_be() {
        let pods = PodLabels::default();
        let pod = ObjectName {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        };
        let correction = LabelCorrection {
            uid: None,
            value: Some("web".to_owned()),
            wrong: None,
        };
        pods.set(vec![(pod.clone(), Some(correction))]);
        pods.set(vec![(pod, None)]);
        let entries = pods.entries();
        assert!(entries.queue.is_empty() && entries.corrections.is_empty());
    }

    #[test]
    fn only_a_deleted_pod_needs_no_other_try() {
        let status = |code: u16, field: &str| {
            let causes = serde_json::json!([{"reason": "FieldValueInvalid", "message": "no", "field": field}]);
            let status = serde_json::json!({"code": code, "details": {"causes": causes}});
            serde_json::from_value::<Status>(status).unwrap_or_default()
        };
        for (code, field, expected) in [
            (404, "", true),
            (422, "metadata.uid", true),
            (422, "metadata.labels", false),
            (409, "", false),
            (403, "", false),
        ] {
            assert_eq!(is_deleted(&status(code, field)), expected, "{code} {field}");
        }
    }
}
