//! What the proxies of every replica acknowledged or refused, told to the replica that leads.
//!
//! Every replica serves proxies, and the leader alone writes status. So the others open a connection to the leader, on the port of
//! the xDS server, under the protocol [`PROTOCOL`] and with the operator's certificate, and send one JSON frame a line: all
//! nodes first, then those that changed. What changes faster than it can be sent is sent in its newest form. Who is silent for
//! [`SILENCE`] is forgotten, and its proxies with it, until it comes back.
//!
//! | frame | says |
//! |---|---|
//! | `{"replica":"NAME"}` | who speaks; the first one |
//! | `{"node":{"name":"NAMESPACE/SERVICE","status":{…}}}` | how far its proxies of that node have come |
//! | `"complete"` | all nodes have been named; from here on the replica counts |
//! | `"alive"` | nothing, every [`ALIVE`] |

mod report;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::mpsc;

use crate::transport::OtherConnection;
use crate::transport::certificates::{Identity, identity_of};
use crate::xds::changes::Announcer;
use crate::xds::{Changes, SnapshotStore, Status};

pub use report::report;

/// The protocol by its TLS name (ALPN); another form of frames is another number.
pub const PROTOCOL: &[u8] = b"vaultwall-replica/1";
/// How often a replica that has no news says that it is there.
pub const ALIVE: Duration = Duration::from_secs(1);
/// How long a replica may be silent before it counts as gone.
pub const SILENCE: Duration = Duration::from_secs(5);

/// Longest frame, in bytes. Who sends more is not a replica of ours.
const LONGEST: u64 = 1 << 20;

/// One line of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Frame {
    Replica(String),
    Node { name: String, status: Status },
    Complete,
    Alive,
}

/// This replica's proxies and those of all replicas that report to it.
#[derive(Debug)]
pub struct Replicas {
    store: Arc<SnapshotStore>,
    /// By connection. A replica that comes again has two for a moment.
    reports: Mutex<BTreeMap<u64, Report>>,
    changes: Announcer,
    last_connection: AtomicU64,
}

/// What one replica said about its proxies.
#[derive(Debug, Default)]
struct Report {
    replica: String,
    nodes: HashMap<Arc<str>, Status>,
}

/// Nodes whose merged status may be another one than before.
#[derive(Debug)]
pub struct MergedChanges {
    own: Changes,
    reported: Changes,
}

impl MergedChanges {
    /// Waits for news, and returns the nodes that it is of: first all that are known. None is ever lost.
    pub async fn next(&mut self) -> BTreeSet<Arc<str>> {
        tokio::select! {
            nodes = self.own.next() => nodes,
            nodes = self.reported.next() => nodes,
        }
    }
}

impl Replicas {
    /// Nobody has reported yet; `store` is this replica's own.
    pub fn new(store: Arc<SnapshotStore>) -> Self {
        Self {
            store,
            reports: Mutex::default(),
            changes: Announcer::default(),
            last_connection: AtomicU64::default(),
        }
    }

    /// How far a node's proxies have come, whichever replica they are connected to.
    ///
    /// What counts is this replica's newest snapshot. Proxies of a replica that is at another one are connected and not
    /// programmed; what they say about theirs is no news about this one.
    pub fn status(&self, node: &str) -> Status {
        let mut merged = self.store.status(node);
        for report in self.reports().values() {
            if let Some(status) = report.nodes.get(node) {
                add(&mut merged, status);
            }
        }
        merged.rejections.sort_unstable();
        merged.rejections.dedup();
        merged
    }

    /// Which nodes have another [`Replicas::status`] than before.
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

    /// The replicas that report, by name.
    pub fn reporting(&self) -> BTreeSet<String> {
        let reports = self.reports();
        reports
            .values()
            .map(|report| report.replica.clone())
            .collect()
    }

    /// Hears every replica that connects, until nobody can any more. A connection that is not one of a replica ends.
    pub async fn listen(self: Arc<Self>, mut connections: mpsc::Receiver<OtherConnection>) {
        let mut hearing = tokio::task::JoinSet::new();
        loop {
            let connection = tokio::select! {
                connection = connections.recv() => connection,
                Some(_) = hearing.join_next() => continue,
            };
            let Some(connection) = connection else { return };
            let address = connection.address;
            let protocol = connection.stream.get_ref().1.alpn_protocol();
            if protocol != Some(PROTOCOL) {
                tracing::warn!(%address, "a connection is refused: it speaks neither xDS nor the protocol of replicas");
                continue;
            }
            if identity_of(&connection.certificate) != Some(Identity::Operator) {
                tracing::warn!(%address, "a connection is refused: it speaks as a replica, and its certificate is not the operator's");
                continue;
            }
            let replicas = Arc::clone(&self);
            hearing.spawn(async move {
                if let Err(error) = replicas.hear(connection.stream).await {
                    tracing::warn!(%address, "a replica's report ends: {error}");
                }
            });
        }
    }

    /// Hears one replica, until it is gone.
    async fn hear(&self, stream: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let Some(Frame::Replica(replica)) = next_frame(&mut stream).await? else {
            return Err(unexpected("it did not say who it is"));
        };
        let mut nodes = HashMap::new();
        loop {
            match next_frame(&mut stream).await? {
                Some(Frame::Node { name, status }) => put(&mut nodes, Arc::from(name), status),
                Some(Frame::Complete) => break,
                Some(Frame::Alive) => {}
                Some(Frame::Replica(_)) => return Err(unexpected("it said twice who it is")),
                None => return Ok(()),
            }
        }
        tracing::info!(replica, nodes = nodes.len(), "a replica reports");
        let connection = self.enter(Report { replica, nodes });
        loop {
            match next_frame(&mut stream).await? {
                Some(Frame::Node { name, status }) => connection.set(&Arc::from(name), status),
                Some(Frame::Complete | Frame::Alive) => {}
                Some(Frame::Replica(_)) => return Err(unexpected("it said twice who it is")),
                None => return Ok(()),
            }
        }
    }

    /// From here on a replica counts; an earlier connection of the same one no longer does.
    fn enter(&self, report: Report) -> Connection<'_> {
        let id = self.last_connection.fetch_add(1, Ordering::Relaxed);
        let mut touched: BTreeSet<Arc<str>> = report.nodes.keys().cloned().collect();
        let mut reports = self.reports();
        reports.retain(|_, earlier| {
            let stays = earlier.replica != report.replica;
            if !stays {
                touched.extend(earlier.nodes.keys().cloned());
            }
            stays
        });
        reports.insert(id, report);
        drop(reports);
        for node in &touched {
            self.changes.announce(node);
        }
        Connection { replicas: self, id }
    }

    /// The map is whole at every moment, so a panic elsewhere while it was held does no harm.
    fn reports(&self) -> MutexGuard<'_, BTreeMap<u64, Report>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A replica that counts, until this is dropped.
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
        let gone = self.replicas.reports().remove(&self.id);
        if let Some(gone) = gone {
            tracing::info!(replica = gone.replica, "a replica no longer reports");
            for node in gone.nodes.keys() {
                self.replicas.changes.announce(node);
            }
        }
    }
}

/// A node of which nothing is known any more is forgotten.
fn put(nodes: &mut HashMap<Arc<str>, Status>, node: Arc<str>, status: Status) {
    if status == Status::default() {
        nodes.remove(&node);
    } else {
        nodes.insert(node, status);
    }
}

fn add(merged: &mut Status, status: &Status) {
    merged.connected += status.connected;
    if merged.version.is_some() && merged.version == status.version {
        merged.programmed += status.programmed;
        merged.pending += status.pending;
        merged.rejections.extend(status.rejections.iter().cloned());
    }
}

/// The next frame; none: the end.
async fn next_frame(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Frame>> {
    let mut line = Vec::new();
    let mut limited = (&mut *stream).take(LONGEST);
    let read = limited.read_until(b'\n', &mut line);
    match tokio::time::timeout(SILENCE, read).await {
        Err(_) => return Err(unexpected("it is silent")),
        Ok(Ok(0)) => return Ok(None),
        // Who is killed says no goodbye; it is gone all the same.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Ok(read) => read?,
    };
    if line.pop() != Some(b'\n') {
        return Err(unexpected("a frame is cut off or too long"));
    }
    let frame = serde_json::from_slice(&line);
    frame
        .map(Some)
        .map_err(|error| unexpected(&format!("a frame cannot be read: {error}")))
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
