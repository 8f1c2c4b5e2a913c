//! The client of a TLS connection: the node that its certificate names, and whether the certificate is still valid.
//! Does not decide which node a certificate names.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, watch};
use tonic::Status;

use super::credentials::Credentials;
use super::slots::Refusal;
use crate::xds;

/// Interval of checks of the certificate of an open connection, which may have expired.
const CHECK_INTERVAL: Duration = Duration::from_mins(10);

/// Identity that connections are counted for: the node that the certificate names, or all certificates without one
/// together.
pub(super) type Client = Option<Arc<str>>;

/// The client of a TLS connection. gRPC services find it in the extensions of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The node that the certificate names.
    node: Client,
    /// Limit for which every stream is refused.
    refusal: Option<Refusal>,
    chain: Arc<[CertificateDer<'static>]>,
    credentials: watch::Receiver<Arc<Credentials>>,
    refused: Arc<Notify>,
    /// Becomes true with the first stream.
    used: watch::Sender<bool>,
}

impl Peer {
    /// A peer with a certificate chain that was verified in the handshake.
    pub(super) fn new(
        node: Client,
        refusal: Option<Refusal>,
        chain: Arc<[CertificateDer<'static>]>,
        credentials: watch::Receiver<Arc<Credentials>>,
    ) -> Self {
        Self {
            node,
            refusal,
            chain,
            credentials,
            refused: Arc::default(),
            used: watch::Sender::new(false),
        }
    }

    /// Waits until the peer has opened a stream.
    pub(super) async fn used(&self) {
        // It cannot fail: this value holds the sender.
        let _ = self.used.subscribe().wait_for(|used| *used).await;
    }

    /// Waits until a service refuses the peer.
    pub(super) async fn refused(&self) {
        self.refused.notified().await;
    }
}

impl xds::Peer for Peer {
    /// Accepts the peer's own node alone.
    fn check_node(&self, node: &str) -> Result<(), Status> {
        self.used.send_replace(true);
        if let Some(refusal) = self.refusal {
            return Err(Status::resource_exhausted(refusal.message()));
        }
        match self.node.as_deref() {
            Some(own) if own == node => Ok(()),
            Some(own) => Err(Status::permission_denied(format!(
                "the client certificate is that of node {own}, and the stream is opened as node {node}: a proxy \
                 receives its own firewall's configuration alone; set `node.id` to {own}, or use the certificate \
                 of {node}"
            ))),
            None => Err(Status::permission_denied(
                "the client certificate names no node; use the one that was issued to this proxy",
            )),
        }
    }

    fn check_credentials(&self) -> Result<(), Status> {
        let checked = self.credentials.borrow().check_client(&self.chain);
        checked.map_err(|error| {
            Status::unauthenticated(format!(
                "the client certificate is no longer valid: {error}; connect again with the one that was issued last"
            ))
        })
    }

    async fn wait_invalid(&mut self) -> Status {
        let mut has_sender = true;
        loop {
            self.credentials.mark_unchanged();
            if let Err(status) = xds::Peer::check_credentials(self) {
                return status;
            }
            tokio::select! {
                changed = self.credentials.changed(), if has_sender => has_sender = changed.is_ok(),
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
        }
    }

    fn close(&self) {
        self.refused.notify_one();
    }
}
