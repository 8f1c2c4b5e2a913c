//! Reports of replicas: the leader receives what the proxies of every replica acknowledged or rejected.
//!
//! Every replica serves proxies, and only the leader writes status. So the other replicas connect to the leader, on the
//! port of the xDS server, with the protocol [`PROTOCOL`] and the operator's certificate. They send one JSON frame a
//! line: first all nodes, then the nodes that changed. Of a status that changes faster than it can be sent, only the
//! newest form is sent. A replica that sends nothing for [`SILENCE`] is removed with its proxies until it reconnects.
//!
//! | frame | meaning |
//! |---|---|
//! | `{"replica":"NAME"}` | name of the sender; the first frame |
//! | `{"node":{"name":"NAMESPACE/SERVICE","status":{…}}}` | status of its proxies of that node |
//! | `"complete"` | all nodes were sent; from here on the replica counts |
//! | `"alive"` | keep-alive, every [`ALIVE`] |

mod protocol;
mod report;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, BufReader};
use tokio::sync::mpsc;

use crate::transport::ProtocolConnection;
use crate::transport::certificates::{Identity, identity_of};
use crate::xds::changes::Announcer;
use crate::xds::{Changes, SnapshotStore, Status};

pub use protocol::{ALIVE, PROTOCOL, SILENCE};
pub use report::report;

use protocol::{Frame, next_frame, put, unexpected};

/// Status of this replica's proxies and of those of all replicas that report to it.
#[derive(Debug)]
pub struct Replicas {
    store: Arc<SnapshotStore>,
    /// Reports by connection. A replica that reconnects has two connections for a moment.
    reports: Mutex<BTreeMap<u64, Report>>,
    changes: Announcer,
    last_connection: AtomicU64,
}

/// Report of one replica about its proxies.
#[derive(Debug, Default)]
struct Report {
    replica: String,
    nodes: HashMap<Arc<str>, Status>,
}

/// Nodes whose merged status may have changed.
#[derive(Debug)]
pub struct MergedChanges {
    own: Changes,
    reported: Changes,
}

impl MergedChanges {
    /// Waits for changes, and returns the nodes that changed: first all known ones. No change is lost.
    pub async fn next(&mut self) -> BTreeSet<Arc<str>> {
        tokio::select! {
            nodes = self.own.next() => nodes,
            nodes = self.reported.next() => nodes,
        }
    }
}

impl Replicas {
    /// Creates it without reports; `store` has this replica's own proxies.
    pub fn new(store: Arc<SnapshotStore>) -> Self {
        Self {
            store,
            reports: Mutex::default(),
            changes: Announcer::default(),
            last_connection: AtomicU64::default(),
        }
    }

    /// Returns the status of a node's proxies, of all replicas together.
    ///
    /// The reference is this replica's newest snapshot. Proxies of a replica with another snapshot count as connected
    /// and not as programmed; their acknowledgements do not apply to this snapshot.
    pub fn status(&self, node: &str) -> Status {
        let mut merged = self.store.status(node);
        for report in self.reports().values() {
            if let Some(status) = report.nodes.get(node) {
                merge(&mut merged, status);
            }
        }
        merged.rejections.sort_unstable();
        merged.rejections.dedup();
        merged
    }

    /// Subscribes to the nodes whose [`Replicas::status`] changes.
    pub fn changes(&self) -> MergedChanges {
        MergedChanges {
            own: self.store.changes(),
            reported: self.changes.subscribe(|| {
                let reports = self.reports();
                let nodes = reports.values().flat_map(|report| report.nodes.keys());
                nodes.cloned().collect::<Vec<_>>()
            }),
        }
    }

    /// Returns the names of the replicas that report.
    pub fn reporting(&self) -> BTreeSet<String> {
        let reports = self.reports();
        reports
            .values()
            .map(|report| report.replica.clone())
            .collect()
    }

    /// Receives the reports of every replica that connects, until the channel is closed. Closes other connections.
    pub async fn listen(self: Arc<Self>, mut connections: mpsc::Receiver<ProtocolConnection>) {
        let mut receivers = tokio::task::JoinSet::new();
        loop {
            let connection = tokio::select! {
                connection = connections.recv() => connection,
                Some(_) = receivers.join_next() => continue,
            };
            let Some(connection) = connection else { return };
            let address = connection.address;
            if identity_of(&connection.certificate) != Some(Identity::Operator) {
                tracing::warn!(%address, "refused a connection of a replica: its certificate is not the operator's");
                continue;
            }
            let replicas = Arc::clone(&self);
            receivers.spawn(async move {
                if let Err(error) = replicas.receive(connection.stream).await {
                    tracing::warn!(%address, "the connection of a replica ended: {error}");
                }
            });
        }
    }

    /// Receives the report of one replica until it disconnects.
    async fn receive(&self, stream: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let Some(Frame::Replica(replica)) = next_frame(&mut stream).await? else {
            return Err(unexpected("the first frame does not name the replica"));
        };
        let mut nodes = HashMap::new();
        loop {
            match next_frame(&mut stream).await? {
                Some(Frame::Node { name, status }) => put(&mut nodes, Arc::from(name), status),
                Some(Frame::Complete) => break,
                Some(Frame::Alive) => {}
                Some(Frame::Replica(_)) => {
                    return Err(unexpected("a second frame names the replica"));
                }
                None => return Ok(()),
            }
        }
        tracing::info!(replica, nodes = nodes.len(), "a replica reports");
        let connection = self.add(Report { replica, nodes });
        loop {
            match next_frame(&mut stream).await? {
                Some(Frame::Node { name, status }) => connection.set(&Arc::from(name), status),
                Some(Frame::Complete | Frame::Alive) => {}
                Some(Frame::Replica(_)) => {
                    return Err(unexpected("a second frame names the replica"));
                }
                None => return Ok(()),
            }
        }
    }

    /// Adds a replica's report, in place of the report of an earlier connection of the same replica.
    fn add(&self, report: Report) -> Connection<'_> {
        let id = self.last_connection.fetch_add(1, Ordering::Relaxed);
        let mut touched: BTreeSet<Arc<str>> = report.nodes.keys().cloned().collect();
        let mut reports = self.reports();
        reports.retain(|_, earlier| {
            let keep = earlier.replica != report.replica;
            if !keep {
                touched.extend(earlier.nodes.keys().cloned());
            }
            keep
        });
        reports.insert(id, report);
        drop(reports);
        for node in &touched {
            self.changes.announce(node);
        }
        Connection { replicas: self, id }
    }

    /// The map is consistent after every statement, so a poisoned lock can be used.
    fn reports(&self) -> MutexGuard<'_, BTreeMap<u64, Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connection of a replica; dropping it removes the replica's report.
struct Connection<'a> {
    replicas: &'a Replicas,
    id: u64,
}

impl Connection<'_> {
    fn set(&self, node: &Arc<str>, status: Status) {
        if let Some(report) = self.replicas.reports().get_mut(&self.id) {
            put(&mut report.nodes, Arc::clone(node), status);
        }
        self.replicas.changes.announce(node);
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let removed = self.replicas.reports().remove(&self.id);
        if let Some(removed) = removed {
            tracing::info!(replica = removed.replica, "a replica no longer reports");
            for node in removed.nodes.keys() {
                self.replicas.changes.announce(node);
            }
        }
    }
}

fn merge(merged: &mut Status, status: &Status) {
    merged.connected += status.connected;
    if merged.version.is_some() && merged.version == status.version {
        merged.programmed += status.programmed;
        merged.pending += status.pending;
        merged.rejections.extend(status.rejections.iter().cloned());
    }
}

#[cfg(test)]
mod tests;
