//! Answers of proxies to published snapshots: confirmations with a timeout, and rejections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use crate::clock::Clock;
use crate::policy::VaultId;
use crate::xds::{self, Event, NotProgrammed, Rejection, SnapshotStore};

/// Timeout of a confirmation.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Outcome of waiting for a published version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The vault of the firewall.
    pub vault: VaultId,
    /// When the change was first seen.
    pub seen: Instant,
    /// How waiting for the proxies ended.
    pub outcome: Outcome,
}

/// How waiting for the proxies of a node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every connected proxy has acknowledged the whole snapshot, and at least one is connected.
    InForce,
    /// A proxy refused a part of it, or a newer snapshot replaced it.
    NotInForce(NotProgrammed),
    /// Not all proxies have answered within the timeout, or none is connected.
    TimedOut,
}

/// Waits until the snapshot is in force, or for the timeout, and calls back with the outcome.
pub(super) async fn confirm(
    store: Arc<SnapshotStore>,
    clock: Clock,
    node: String,
    version: String,
    mut confirmation: Confirmation,
    on_confirmation: Arc<dyn Fn(&Confirmation) + Send + Sync>,
) {
    confirmation.outcome = tokio::select! {
        // In this order: a confirmation that arrived in time counts.
        biased;
        ended = store.wait_programmed(&node, &version) => match ended {
            Ok(()) => Outcome::InForce,
            Err(error) => Outcome::NotInForce(error),
        },
        () = clock.sleep(TIMEOUT) => Outcome::TimedOut,
    };
    on_confirmation(&confirmation);
}

/// Calls `report` with everything that any proxy refuses, for as long as the store exists. Rejections can be lost if
/// they arrive faster than they are reported; [`SnapshotStore::status`] has all of them.
pub async fn report_rejections(store: Arc<SnapshotStore>, report: impl Fn(&Rejection)) {
    let mut reports = store.reports();
    loop {
        match reports.recv().await {
            Ok(xds::Report {
                event:
                    Event::Answered {
                        kind,
                        name,
                        version,
                        outcome: xds::Outcome::Rejected { message },
                    },
                ..
            }) => report(&Rejection {
                kind,
                name,
                version,
                message,
            }),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
