//! Reconcile of the kinds that have nothing but a status, by the leader: read object → status. Nothing is generated for
//! them: subnets and trusted services are part of the firewalls whose policies name them.
//!
//! | module | content |
//! |---|---|
//! | [`state`] | current state of every object of a kind, and the queue |
//! | `conditions` | the conditions of all these kinds |
//! | [`networks`] | desired status of a virtual network |
//! | [`services`] | desired status of a trusted service |

mod conditions;
pub(crate) mod networks;
pub(crate) mod services;
pub(crate) mod state;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::state::{Stage, States, Stored};
use crate::api::INSTALL_DEFINITIONS;
use crate::clock::Clock;
use crate::controller::debounce::{Debounce, Urgency};
use crate::index::ObjectName;
use crate::runtime::leader::{Lost, Term};
use crate::runtime::queue::{self, Outcome, Queue, Rules};
use crate::runtime::status::{Read, StatusWriter};
use crate::runtime::write::WriteError;

/// Objects of a kind whose status is written at a time.
const SLOTS: usize = 2;

/// A cluster-scoped kind that has nothing but a status.
pub(crate) trait StatusOnly: Clone + Debug + Default + Send + Sync + 'static {
    /// The kind in the API.
    type Resource: Resource<DynamicType = ()>;
    /// Its status.
    type Status: Serialize + DeserializeOwned + Clone + Debug + Send + Sync;
    /// Facts about a valid object, from which its status is written.
    type Facts: Clone + Debug + PartialEq + Send + Sync;
    /// Kind in the metric of status writes.
    const METRIC: &'static str;
    /// Short name of the kind in kubectl.
    const SHORT_NAME: &'static str;

    /// Returns the desired status. Conditions of other writers are kept as they are stored.
    fn status_of(stored: &Stored<Self>, now: Timestamp) -> Self::Status;

    /// How soon a desired status must replace the stored one; times and order are no difference.
    fn urgency(stored: Option<&Self::Status>, desired: &Self::Status) -> Urgency;
}

/// Reconciler of one kind.
pub(crate) struct Reconciler<K: StatusOnly> {
    states: Arc<States<K>>,
    statuses: StatusWriter,
    clock: Clock,
    /// Whether a status that was not stored has been logged.
    reported: AtomicBool,
}

impl<K: StatusOnly> Reconciler<K> {
    pub(crate) fn new(states: Arc<States<K>>, statuses: StatusWriter, clock: Clock) -> Self {
        Self {
            states,
            statuses,
            clock,
            reported: AtomicBool::new(false),
        }
    }

    /// Reconciles every object that changes, until the term is over.
    pub(crate) async fn run(&self, term: &Term) -> Lost {
        self.states.enqueue_all();
        let queue = Queue::new(Rules {
            stages: &[Stage::Status],
            slots: SLOTS,
            flow: |object: &ObjectName| &object.name,
        });
        let changes = || self.states.next_queued();
        let reconcile = |object: ObjectName, _| async move { self.reconcile(&object, term).await };
        queue::run(queue, changes, reconcile).await
    }

    /// Writes the status of an object if it differs, at once or after a delay.
    async fn reconcile(&self, id: &ObjectName, term: &Term) -> Result<Outcome, Lost> {
        let Some(stored) = self.states.get(id) else {
            return Ok(Outcome::Done);
        };
        let desired = K::status_of(&stored, self.clock.now());
        let urgency = K::urgency(stored.status.as_ref(), &desired);
        let mut next = Debounce::default();
        let waits = self.states.waiting(id).waits(urgency, &mut next);
        self.states.set_waiting(id, next);
        if waits {
            let due = next.due(Instant::now());
            return Ok(due.map_or(Outcome::Done, Outcome::Requeue));
        }
        let Stored { uid, version, .. } = &*stored;
        let read = Read {
            id,
            uid,
            version: *version,
        };
        let written = self.statuses.replace::<K::Resource, _>(term, read, desired);
        match written.await {
            Ok(Some(written)) => {
                self.states
                    .status_written(id, uid, written.status, written.version);
                Ok(Outcome::Done)
            }
            // Changed or deleted in the meantime: the watch event of that enqueues the object again.
            Ok(None) => {
                let same = self
                    .states
                    .get(id)
                    .is_some_and(|now| now.version == *version);
                if same && !self.reported.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        object = %id,
                        "the status was not stored; if `kubectl get {}` shows none, the installed CRD is older than \
                         this operator: {INSTALL_DEFINITIONS}",
                        K::SHORT_NAME
                    );
                }
                Ok(Outcome::Done)
            }
            Err(WriteError::Lost(lost)) => Err(lost),
            Err(WriteError::Api(error)) => {
                tracing::error!(object = %id, "cannot write the status of {}: {error}; retrying", K::METRIC);
                Ok(Outcome::Failed)
            }
        }
    }
}
