//! Delta ADS over mutual TLS: a proxy shows its certificate, and is given the configuration of the node that it names.
//!
//! Handshakes go on beside each other and may not take long, so that no peer holds up another. What a certificate stands
//! for is not decided here. Connections that speak another protocol than HTTP/2 are handed on.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::server::Connected;

use crate::transport::credentials::Credentials;
use crate::xds::server::{Access, ServeError, serve};
use crate::xds::store::SnapshotStore;

/// HTTP/2 as TLS names it.
pub const HTTP2: &[u8] = b"h2";

/// How long a peer may take until it is known who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How many handshakes may go on at once; whoever comes then waits.
const HANDSHAKES: usize = 512;
/// Accepted connections that wait to be served.
const ACCEPTED: usize = 64;
/// How long nothing is accepted after the system refused to accept, for want of descriptors for instance.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a connection stays open after its peer was refused, so that it hears why. It has to go then: Envoy would ask again
/// on the same one, and never show a certificate that it was given since.
const FAREWELL: Duration = Duration::from_millis(200);
/// How often the certificate of an open connection is looked at again: it may have expired.
const CHECK_INTERVAL: Duration = Duration::from_mins(10);

/// Says which node a peer's certificate (DER) stands for; `None`: none.
pub type Authorize = Arc<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// A connection of a peer with a good certificate that speaks another protocol than HTTP/2.
#[derive(Debug)]
pub struct OtherConnection {
    /// The connection; its protocol is `stream.get_ref().1.alpn_protocol()`.
    pub stream: TlsStream<TcpStream>,
    /// The peer's certificate.
    pub certificate: CertificateDer<'static>,
    /// Where it comes from.
    pub address: SocketAddr,
}

/// What is needed to serve over TLS.
pub struct TlsServer {
    /// Where connections come in.
    pub listener: TcpListener,
    /// The newest credentials count: for the next connection at once; an open one whose peer they no longer believe ends.
    pub credentials: watch::Receiver<Arc<Credentials>>,
    /// Which node a peer may speak as.
    pub authorize: Authorize,
    /// Who takes connections of other protocols; none: they are closed.
    pub others: Option<mpsc::Sender<OtherConnection>>,
}

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TlsServer")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Serves until `stop` is done.
pub async fn serve_tls(
    server: TlsServer,
    store: Arc<SnapshotStore>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (accepted, incoming) = mpsc::channel(ACCEPTED);
    let incoming = tokio_stream::StreamExt::map(ReceiverStream::new(incoming), Ok);
    tokio::select! {
        ended = serve(incoming, store, Access::Certificate, stop) => ended,
        never = server.accept(accepted) => match never {},
    }
}

impl TlsServer {
    async fn accept(self, accepted: mpsc::Sender<Accepted>) -> std::convert::Infallible {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            // It cannot fail: the semaphore is never closed.
            let permit = Arc::clone(&handshakes).acquire_owned().await;
            let (stream, address) = match self.listener.accept().await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!("no connection can be accepted: {error}; trying again");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let credentials = self.credentials.clone();
            let authorize = Arc::clone(&self.authorize);
            let (accepted, others) = (accepted.clone(), self.others.clone());
            tokio::spawn(async move {
                let shaken = tokio::time::timeout(HANDSHAKE, handshake(stream, &credentials)).await;
                drop(permit);
                match shaken {
                    Ok(Ok(stream)) => {
                        hand_on(stream, address, credentials, &authorize, accepted, others).await;
                    }
                    // Nothing was said: a probe of the port.
                    Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                        tracing::debug!(%address, "a connection was closed before it was known whose it is: {error}");
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(%address, "a connection is refused: {error}");
                    }
                    Err(_) => {
                        tracing::warn!(%address, "a connection is refused: who it is was not said in {HANDSHAKE:?}");
                    }
                }
            });
        }
    }
}

async fn handshake(
    stream: TcpStream,
    credentials: &watch::Receiver<Arc<Credentials>>,
) -> std::io::Result<TlsStream<TcpStream>> {
    // Small responses must not wait for the acknowledgement of earlier ones.
    stream.set_nodelay(true)?;
    let server = credentials.borrow().server();
    TlsAcceptor::from(server).accept(stream).await
}

async fn hand_on(
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    credentials: watch::Receiver<Arc<Credentials>>,
    authorize: &Authorize,
    accepted: mpsc::Sender<Accepted>,
    others: Option<mpsc::Sender<OtherConnection>>,
) {
    let (_, connection) = stream.get_ref();
    let is_http2 = connection.alpn_protocol() == Some(HTTP2);
    let chain: Arc<[CertificateDer<'static>]> = connection
        .peer_certificates()
        .map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect())
        .unwrap_or_default();
    let Some(certificate) = chain.first() else {
        return;
    };
    if is_http2 {
        let peer = Peer {
            node: authorize(certificate).map(Arc::from),
            chain,
            credentials,
            refused: Arc::default(),
        };
        let refused = Arc::clone(&peer.refused);
        let end = Box::pin(async move {
            refused.notified().await;
            tokio::time::sleep(FAREWELL).await;
        });
        let connection = Accepted {
            stream,
            peer,
            end: Some(end),
        };
        // An error means that the server is gone.
        let _ = accepted.send(connection).await;
        return;
    }
    let other = OtherConnection {
        certificate: certificate.clone(),
        stream,
        address,
    };
    if others.is_none_or(|others| others.try_send(other).is_err()) {
        tracing::warn!(%address, "a connection is refused: nobody here speaks its protocol, or too many came at once");
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The node that its certificate names.
    node: Option<Arc<str>>,
    chain: Arc<[CertificateDer<'static>]>,
    credentials: watch::Receiver<Arc<Credentials>>,
    refused: Arc<Notify>,
}

impl Peer {
    /// Ends the connection soon.
    pub(crate) fn refuse(&self) {
        self.refused.notify_one();
    }

    /// Refuses every node but its own.
    pub(crate) fn check_node(&self, node: &str) -> Result<(), Status> {
        match self.node.as_deref() {
            Some(own) if own == node => Ok(()),
            Some(own) => Err(Status::permission_denied(format!(
                "the client certificate is that of node {own}, and the stream is opened as node {node}: a proxy is given its \
                 own firewall's configuration alone; set `node.id` to {own}, or use the certificate of {node}"
            ))),
            None => Err(Status::permission_denied(
                "the client certificate stands for no node; use the one that was issued to this proxy",
            )),
        }
    }

    /// Whether its certificate is good now.
    pub(crate) fn check_believed(&self) -> Result<(), Status> {
        let checked = self.credentials.borrow().check_client(&self.chain);
        checked.map_err(|error| {
            Status::unauthenticated(format!(
                "the client certificate is no longer good: {error}; connect again with the one that was issued last"
            ))
        })
    }

    /// Waits until its certificate is no longer good.
    pub(crate) async fn is_no_longer_believed(&mut self) -> Status {
        let mut has_source = true;
        loop {
            self.credentials.mark_unchanged();
            if let Err(status) = self.check_believed() {
                return status;
            }
            tokio::select! {
                changed = self.credentials.changed(), if has_source => has_source = changed.is_ok(),
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
        }
    }
}

/// A connection whose peer is known.
struct Accepted {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// Done when nothing more is to be read; none when it was.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Connected for Accepted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

mod passing {
    //! Reading and writing go to the connection itself.

    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Accepted;

    impl AsyncRead for Accepted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let end = self.end.as_mut().map(|end| end.as_mut().poll(context));
            if end.is_none_or(|end| end.is_ready()) {
                self.end = None;
                return Poll::Ready(Ok(()));
            }
            Pin::new(&mut self.stream).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Accepted {
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

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<()>> {
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
}
