//! Makes Envoy open its access log again after a rotation.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::Notify;

use super::error::StandaloneError;
use crate::xds::SnapshotStore;

/// The access log, and whether Envoy has to open it again.
pub(super) struct Rotation {
    access_log: String,
    /// The node that Envoy connects as.
    node: String,
    store: Arc<SnapshotStore>,
    /// Makes the supervisor send Envoy the signal.
    reopen: Arc<Notify>,
    wanted: bool,
}

impl Rotation {
    pub(super) fn new(
        access_log: String,
        node: String,
        store: Arc<SnapshotStore>,
        reopen: Arc<Notify>,
    ) -> Self {
        Self {
            access_log,
            node,
            store,
            reopen,
            wanted: false,
        }
    }

    /// Handles a request to open the log again. If that is impossible, Envoy keeps the file that it has open: it closes
    /// its file before it opens the new one, and would lose records.
    pub(super) fn request(&mut self) {
        let log = &self.access_log;
        match check(log) {
            Ok(()) => {
                tracing::info!("Envoy opens the access log {log} again");
                self.wanted = true;
            }
            Err(error) => {
                tracing::error!("{error}; Envoy continues to write to the file that it has open");
            }
        }
    }

    /// Waits until [`Self::signal`] has something to do. Before Envoy connects, it has not opened the log, and the
    /// signal would end it.
    pub(super) async fn is_due(&self) {
        if !self.wanted {
            pending::<()>().await;
        }
        let mut status = self.store.status(&self.node);
        while status.connected == 0 {
            status = self.store.status_changed(&self.node, &status).await;
        }
    }

    /// Has Envoy open the log again.
    pub(super) fn signal(&mut self) {
        self.wanted = false;
        self.reopen.notify_one();
    }
}

/// Checks that the access log can be opened: otherwise Envoy would refuse the listeners later.
pub(super) fn check(path: &str) -> Result<(), StandaloneError> {
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    opened
        .map(drop)
        .map_err(|source| StandaloneError::AccessLog {
            path: path.to_owned(),
            source,
        })
}
