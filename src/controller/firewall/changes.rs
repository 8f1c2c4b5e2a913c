//! Changes that the engine does not see: generated objects, and answers of proxies. They enqueue their vault; metrics
//! count the answers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::controller::firewall::state::{FirewallState, Stage};
use crate::publish::report_rejections;
use crate::runtime::apply::{Changed, ChangedPart, GeneratedKind};
use crate::runtime::operations::Metrics;
use crate::runtime::operations::metrics::number;
use crate::runtime::replicas::Replicas;
use crate::xds::SnapshotStore;

/// Enqueues the vault of a generated object that changed.
pub(crate) fn enqueue_generated(state: &FirewallState, (vault, part): Changed) {
    let first = match part {
        ChangedPart::Content(GeneratedKind::NetworkPolicy) => Stage::Isolation,
        ChangedPart::Content(_) => Stage::Objects,
        ChangedPart::Readiness => Stage::Status,
    };
    state.enqueue(vault, first);
}

/// Enqueues a vault for its status after every acknowledgement, rejection and disconnect of a proxy of any replica, and
/// counts the proxies in metrics.
pub(crate) async fn enqueue_answered(
    replicas: Arc<Replicas>,
    state: Arc<FirewallState>,
    metrics: Arc<Metrics>,
) {
    let mut changes = replicas.changes();
    let mut counted = HashMap::new();
    let (mut connected, mut programmed) = (0, 0);
    loop {
        for node in changes.next().await {
            let status = replicas.status(&node);
            let current = (status.connected, status.programmed);
            let before = if current == (0, 0) {
                counted.remove(&node)
            } else {
                counted.insert(Arc::clone(&node), current)
            };
            let before = before.unwrap_or_default();
            connected = connected + current.0 - before.0;
            programmed = programmed + current.1 - before.1;
            if let Ok(vault) = node.parse() {
                state.enqueue(vault, Stage::Status);
            }
        }
        metrics.proxies_connected.set(number(connected));
        metrics.proxies_programmed.set(number(programmed));
    }
}

/// Counts rejected resources in a metric. The log and the status contain Envoy's messages.
pub(crate) async fn count_rejections(store: Arc<SnapshotStore>, metrics: Arc<Metrics>) {
    report_rejections(store, |_| {
        metrics.xds_rejections.inc();
    })
    .await;
}
