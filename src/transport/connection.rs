//! A TLS connection of gRPC, which ends soon after its peer was refused, and if it is not used. Reads and writes pass
//! through unchanged.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::peer::{Client, Peer};
use super::slots::Slot;

/// Grace period in which a refused peer can read the reason. Then the connection has to close: Envoy would otherwise
/// send its next request on the same connection, and never present a newer certificate.
const GRACE_PERIOD: Duration = Duration::from_millis(200);

/// Time in which the peer has to open its first stream. A connection that waits for it would have a slot for ever.
const FIRST_STREAM: Duration = Duration::from_secs(5);

/// Slot of a connection: one of the client, or one of those that are only open to receive the reason of a refusal.
pub(super) enum Admission {
    Client(#[expect(dead_code, reason = "freed when it is dropped")] Slot<Client>),
    Refused(#[expect(dead_code, reason = "freed when it is dropped")] OwnedSemaphorePermit),
}

/// A connection whose peer has a trusted certificate.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// Completes when the connection has to close; `None` after that.
    closed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _admission: Admission,
}

impl Connection {
    pub(super) fn new(stream: TlsStream<TcpStream>, peer: Peer, admission: Admission) -> Self {
        let watched = peer.clone();
        Self {
            stream,
            peer,
            closed: Some(Box::pin(async move {
                let used = tokio::time::timeout(FIRST_STREAM, watched.used()).await;
                if used.is_ok() {
                    watched.refused().await;
                    tokio::time::sleep(GRACE_PERIOD).await;
                }
            })),
            _admission: admission,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let closed = self
            .closed
            .as_mut()
            .map(|closed| closed.as_mut().poll(context));
        if closed.is_none_or(|closed| closed.is_ready()) {
            self.closed = None;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
