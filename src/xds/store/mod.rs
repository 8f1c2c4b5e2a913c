//! The newest snapshot of every node, the connected sessions, and what they acknowledged.
//!
//! A node is one firewall; several proxies may be connected as the same node. Publishing wakes that node's sessions and
//! no others. The store neither compiles nor sends: sessions take snapshots from it and report their progress to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use super::changes::{Announcer, Changes};
use super::event::{Event, Progress, Rejection};
use super::snapshot::Snapshot;

/// Reports that are kept for a slow reader, which loses older ones. [`SnapshotStore::status`] loses nothing.
const REPORTS_KEPT: usize = 1024;

/// Number of a session, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An event of a proxy's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The node that the proxy is connected as.
    pub node: Arc<str>,
    /// The session.
    pub session: SessionId,
    /// The event.
    pub event: Event,
}

/// Progress of a node's proxies with its newest snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the newest snapshot; `None` if nothing was published.
    pub version: Option<String>,
    /// Number of connected proxies.
    pub connected: usize,
    /// Number of connected proxies that enforce the whole newest snapshot.
    pub programmed: usize,
    /// Resources that any of them refuses, sorted and without duplicates.
    pub rejections: Vec<Rejection>,
    /// Number of resources that are not in force yet, summed over all connected proxies.
    pub pending: usize,
}

/// Summary of a [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was published for the node.
    NoSnapshot,
    /// No proxy is connected, so it is unknown whether anything is in force.
    NoProxies,
    /// At least one proxy refuses something.
    Rejected,
    /// At least one proxy has not acknowledged everything yet.
    Pending,
    /// Every connected proxy acknowledged everything.
    Programmed,
}

impl Status {
    /// Returns the summary.
    pub fn state(&self) -> State {
        if self.version.is_none() {
            State::NoSnapshot
        } else if self.connected == 0 {
            State::NoProxies
        } else if !self.rejections.is_empty() {
            State::Rejected
        } else if self.programmed < self.connected {
            State::Pending
        } else {
            State::Programmed
        }
    }
}

/// Why a snapshot is not in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProgrammed {
    /// Another snapshot replaced it, or it was withdrawn, or it was never published.
    #[error("snapshot {version} of {node} is not the newest one; wait for the one that is")]
    NotNewest {
        /// Name of the node.
        node: String,
        /// The version to wait for.
        version: String,
    },
    /// At least one proxy refuses a part of it.
    #[error("a proxy of {node} refuses snapshot {version}: {}", list(.rejections))]
    Rejected {
        /// Name of the node.
        node: String,
        /// The version to wait for.
        version: String,
        /// The refused resources, with the proxies' reasons.
        rejections: Vec<Rejection>,
    },
}

fn list(rejections: &[Rejection]) -> String {
    let list: Vec<_> = rejections
        .iter()
        .map(|r| format!("{} {}: {}", r.kind, r.name, r.message))
        .collect();
    list.join("; ")
}

/// The newest snapshot of every node, and the progress of its proxies.
#[derive(Debug)]
pub struct SnapshotStore {
    nodes: Mutex<HashMap<Arc<str>, Arc<Node>>>,
    reports: broadcast::Sender<Report>,
    changes: Announcer,
    last_session: AtomicU64,
}

#[derive(Debug)]
struct Node {
    name: Arc<str>,
    snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    sessions: watch::Sender<BTreeMap<SessionId, Progress>>,
}

impl Node {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            snapshot: watch::Sender::new(None),
            sessions: watch::Sender::new(BTreeMap::new()),
        }
    }

    fn status(&self) -> Status {
        let version = self
            .snapshot
            .borrow()
            .as_ref()
            .map(|snapshot| snapshot.version().to_owned());
        let sessions = self.sessions.borrow();
        let mut status = Status {
            version,
            connected: sessions.len(),
            ..Status::default()
        };
        let Some(version) = status.version.as_deref() else {
            return status;
        };
        for progress in sessions.values() {
            status.programmed += usize::from(progress.is_programmed(version));
            // Answers to an older snapshot do not apply to this one.
            if progress.version.as_deref() == Some(version) {
                status.pending += progress.pending.len();
                status
                    .rejections
                    .extend(progress.rejections.iter().cloned());
            }
        }
        status.rejections.sort_unstable();
        status.rejections.dedup();
        status
    }

    /// Waits until `check` returns a value for the status.
    async fn wait<T>(&self, check: impl Fn(Status) -> Option<T>) -> T {
        let mut snapshots = self.snapshot.subscribe();
        let mut sessions = self.sessions.subscribe();
        loop {
            // Before the check, so that a change after it is not lost.
            snapshots.mark_unchanged();
            sessions.mark_unchanged();
            if let Some(found) = check(self.status()) {
                return found;
            }
            // Neither can fail: the node holds both senders.
            tokio::select! {
                _ = snapshots.changed() => {}
                _ = sessions.changed() => {}
            }
        }
    }

    /// Whether it can be removed: nothing is published, no proxy is connected, and no task waits for its status.
    fn is_idle(&self) -> bool {
        self.snapshot.borrow().is_none()
            && self.sessions.borrow().is_empty()
            && self.sessions.receiver_count() == 0
    }
}

impl Default for SnapshotStore {
    fn default() -> Self {
        Self {
            nodes: Mutex::default(),
            reports: broadcast::Sender::new(REPORTS_KEPT),
            changes: Announcer::default(),
            last_session: AtomicU64::default(),
        }
    }
}

impl SnapshotStore {
    /// A store without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the snapshot of a node and wakes that node's sessions, unless it is the same snapshot. Returns its
    /// version, for [`SnapshotStore::wait_programmed`].
    pub fn publish(&self, node: &str, snapshot: Snapshot) -> String {
        let version = snapshot.version().to_owned();
        self.with_node(node, |node| {
            let is_new = node.snapshot.send_if_modified(|current| {
                let is_new = current.as_ref().is_none_or(|current| {
                    (current.version(), current.is_cold_start())
                        != (&version, snapshot.is_cold_start())
                });
                if is_new {
                    *current = Some(Arc::new(snapshot));
                }
                is_new
            });
            if is_new {
                self.changes.announce(&node.name);
            }
        });
        version
    }

    /// Removes a node's snapshot. Connected proxies keep what they have, and a proxy that connects receives nothing. To
    /// remove the resources from proxies, publish an empty snapshot.
    pub fn withdraw(&self, node: &str) {
        let mut nodes = self.nodes();
        if let Some(known) = nodes.get(node).cloned() {
            known.snapshot.send_replace(None);
            self.changes.announce(&known.name);
            if known.is_idle() {
                nodes.remove(node);
            }
        }
    }

    /// Newest snapshot of a node, if one was published.
    pub fn snapshot(&self, node: &str) -> Option<Arc<Snapshot>> {
        self.nodes().get(node)?.snapshot.borrow().clone()
    }

    /// Names of the nodes that have a snapshot or a session, sorted.
    pub fn nodes_known(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.nodes().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Progress of a node's proxies.
    pub fn status(&self, node: &str) -> Status {
        self.nodes()
            .get(node)
            .cloned()
            .map(|node| node.status())
            .unwrap_or_default()
    }

    /// Waits until at least one proxy of the node is connected and all connected ones enforce the whole snapshot. There
    /// is no timeout; the caller adds one.
    ///
    /// # Errors
    /// A proxy refuses a part of the snapshot, or it is not the newest one.
    pub async fn wait_programmed(&self, node: &str, version: &str) -> Result<(), NotProgrammed> {
        let not_newest = || NotProgrammed::NotNewest {
            node: node.to_owned(),
            version: version.to_owned(),
        };
        let Some(known) = self.nodes().get(node).cloned() else {
            return Err(not_newest());
        };
        let outcome = known.wait(|status| {
            if status.version.as_deref() != Some(version) {
                return Some(Err(not_newest()));
            }
            match status.state() {
                State::Programmed => Some(Ok(())),
                State::Rejected => Some(Err(NotProgrammed::Rejected {
                    node: node.to_owned(),
                    version: version.to_owned(),
                    rejections: status.rejections,
                })),
                State::NoSnapshot | State::NoProxies | State::Pending => None,
            }
        });
        outcome.await
    }

    /// Waits until a node's status differs from `seen`, and returns it.
    pub async fn status_changed(&self, node: &str, seen: &Status) -> Status {
        let known = self.with_node(node, Arc::clone);
        let changed = known.wait(|status| (status != *seen).then_some(status));
        changed.await
    }

    /// Receives the events of all sessions from now on. A reader that falls behind loses the oldest ones.
    pub fn reports(&self) -> broadcast::Receiver<Report> {
        self.reports.subscribe()
    }

    /// Receives the names of nodes whose [`Status`] changed, first those of all nodes. To follow a single node, use
    /// [`SnapshotStore::status_changed`].
    pub fn changes(&self) -> Changes {
        self.changes.subscribe(|| self.nodes_known())
    }

    /// Registers a session of a node. Dropping the connection ends it.
    pub(super) fn connect(self: &Arc<Self>, node: &str) -> Connection {
        let id = SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1);
        let node = self.with_node(node, |node| {
            node.sessions.send_modify(|sessions| {
                sessions.insert(id, Progress::default());
            });
            self.changes.announce(&node.name);
            Arc::clone(node)
        });
        let mut snapshots = node.snapshot.subscribe();
        snapshots.mark_changed();
        Connection {
            store: Arc::clone(self),
            node,
            id,
            snapshots,
        }
    }

    fn with_node<T>(&self, name: &str, act: impl FnOnce(&Arc<Node>) -> T) -> T {
        let mut nodes = self.nodes();
        if let Some(node) = nodes.get(name) {
            return act(node);
        }
        let name: Arc<str> = Arc::from(name);
        let node = nodes
            .entry(Arc::clone(&name))
            .or_insert_with(|| Arc::new(Node::new(name)));
        act(node)
    }

    /// The map is consistent at every moment, so the lock remains usable after a panic.
    fn nodes(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registration of one session in the store.
#[derive(Debug)]
pub(super) struct Connection {
    store: Arc<SnapshotStore>,
    node: Arc<Node>,
    id: SessionId,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
}

impl Connection {
    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn node(&self) -> &str {
        &self.node.name
    }

    pub(super) fn has_snapshot(&self) -> bool {
        self.snapshots.borrow().is_some()
    }

    /// Waits for a snapshot that this session has not received. It may skip some, but never the newest.
    pub(super) async fn next_snapshot(&mut self) -> Option<Arc<Snapshot>> {
        // It cannot fail: `node` holds the sender.
        let _ = self.snapshots.changed().await;
        self.snapshots.borrow_and_update().clone()
    }

    /// Reports events and progress. Events come first, so that a task that is woken by the progress finds them.
    pub(super) fn report(&self, progress: Progress, events: Vec<Event>) {
        for event in events {
            // It fails when there is no reader.
            let _ = self.store.reports.send(Report {
                node: Arc::clone(&self.node.name),
                session: self.id,
                event,
            });
        }
        let has_changed =
            self.node
                .sessions
                .send_if_modified(|sessions| match sessions.get_mut(&self.id) {
                    Some(known) if *known != progress => {
                        *known = progress;
                        true
                    }
                    _ => false,
                });
        if has_changed {
            self.store.changes.announce(&self.node.name);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        tracing::info!(node = &*self.node.name, session = %self.id, "a proxy is disconnected");
        let mut nodes = self.store.nodes();
        self.node.sessions.send_modify(|sessions| {
            sessions.remove(&self.id);
        });
        self.store.changes.announce(&self.node.name);
        if self.node.is_idle() {
            nodes.remove(&self.node.name);
        }
    }
}

#[cfg(test)]
mod tests;
