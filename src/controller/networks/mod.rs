//! Reconcile of virtual networks, by the leader: read object → status. Nothing is generated for a network: its subnets
//! are part of the firewalls whose rules name them.
//!
//! | module | content |
//! |---|---|
//! | [`state`] | current state of every network, and the queue |
//! | [`status`] | desired status of a network |

pub(crate) mod state;
pub(crate) mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::state::{NetworkState, Stage, StoredNetwork};
use crate::api::{INSTALL_DEFINITIONS, VirtualNetwork};
use crate::clock::Clock;
use crate::index::ObjectName;
use crate::runtime::leader::{Lost, Term};
use crate::runtime::queue::{self, Outcome, Queue, Rules};
use crate::runtime::status::{Read, StatusWriter};
use crate::runtime::write::WriteError;

/// Kind in the metric of status writes.
pub(crate) const STATUS_METRIC: &str = "VirtualNetwork/status";
/// Networks whose status is written at a time.
const SLOTS: usize = 2;

/// Reconciler of virtual networks.
pub(crate) struct Reconciler {
    pub(crate) state: Arc<NetworkState>,
    pub(crate) statuses: StatusWriter,
    pub(crate) clock: Clock,
    /// Whether a status that was not stored has been logged.
    pub(crate) reported: AtomicBool,
}

impl Reconciler {
    /// Reconciles every network that changes, until the term is over.
    pub(crate) async fn run(&self, term: &Term) -> Lost {
        self.state.enqueue_all();
        let queue = Queue::new(Rules {
            stages: &[Stage::Status],
            slots: SLOTS,
            flow: |network: &ObjectName| &network.name,
        });
        let changes = || self.state.next_queued();
        let reconcile =
            |network: ObjectName, _| async move { self.reconcile(&network, term).await };
        queue::run(queue, changes, reconcile).await
    }

    /// Writes the status of a network if it differs.
    async fn reconcile(&self, id: &ObjectName, term: &Term) -> Result<Outcome, Lost> {
        let Some(network) = self.state.get(id) else {
            return Ok(Outcome::Done);
        };
        let desired = status::status_of(&network, self.clock.now());
        if status::is_same(network.status.as_ref(), &desired) {
            return Ok(Outcome::Done);
        }
        let StoredNetwork { uid, version, .. } = &*network;
        let read = Read {
            id,
            uid,
            version: *version,
        };
        let written = self
            .statuses
            .replace::<VirtualNetwork, _>(term, read, desired);
        match written.await {
            Ok(Some(written)) => {
                self.state
                    .status_written(id, uid, written.status, written.version);
                Ok(Outcome::Done)
            }
            // Changed or deleted in the meantime: the watch event of that enqueues the network again.
            Ok(None) => {
                let same = self
                    .state
                    .get(id)
                    .is_some_and(|now| now.version == *version);
                if same && !self.reported.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        network = %id,
                        "the status was not stored; if `kubectl get vnet` shows none, the installed CRD is older than \
                         this operator: {INSTALL_DEFINITIONS}"
                    );
                }
                Ok(Outcome::Done)
            }
            Err(WriteError::Lost(lost)) => Err(lost),
            Err(WriteError::Api(error)) => {
                tracing::error!(network = %id, "cannot write the status: {error}; retrying");
                Ok(Outcome::Failed)
            }
        }
    }
}
