//! The TCP listener with mutual TLS: one port for all gRPC services and for other protocols, distinguished by ALPN.
//!
//! Handshakes run concurrently and with a timeout, and connections have limits ([`slots`](super::slots)), so that no
//! peer delays another. This module does not decide which node a certificate names, nor what a peer may ask a service
//! for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;

use super::connection::{Admission, Connection};
use super::credentials::Credentials;
use super::grpc::{self, ServeError};
use super::peer::{Client, Peer};
use super::slots::{ConnectionLimits, OnRefused, Refusal, Refusals, Slot, Slots};

/// ALPN name of HTTP/2, over which gRPC runs.
pub const HTTP2: &[u8] = b"h2";

/// Timeout of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most concurrent handshakes; further connections wait in the listener's backlog.
const HANDSHAKES: usize = 512;
/// Most concurrent handshakes with one address. More are closed at once, so that the others are left for other clients.
const HANDSHAKES_OF_ADDRESS: usize = 64;
/// Connections over a limit that are open at the same time to receive the reason; more are closed without it.
const REFUSALS: usize = 64;
/// Accepted connections that wait to be served.
const ACCEPTED: usize = 64;
/// Pause after the system refused to accept a connection, for example without free file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Returns the node that a peer's certificate (DER) names; `None`: no node.
pub type Authorize = Arc<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// ALPN names of protocols other than HTTP/2, and the receivers of their connections. A connection is refused when its
/// receiver's queue is full.
pub type Protocols = BTreeMap<&'static [u8], mpsc::Sender<ProtocolConnection>>;

/// A connection of a protocol other than HTTP/2, whose peer has a trusted certificate.
#[derive(Debug)]
pub struct ProtocolConnection {
    /// The TLS stream after the handshake.
    pub stream: TlsStream<TcpStream>,
    /// The peer's certificate (DER).
    pub certificate: CertificateDer<'static>,
    /// The peer's address.
    pub address: SocketAddr,
    _slot: ClientSlot,
}

/// Slot of a connection in the limits of its client.
struct ClientSlot(#[expect(dead_code, reason = "freed when it is dropped")] Slot<Client>);

impl std::fmt::Debug for ClientSlot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientSlot")
    }
}

/// A TLS listener, and the services behind it.
pub struct TlsServer {
    /// Socket that accepts connections.
    pub listener: TcpListener,
    /// The newest credentials apply to the next connection. An open connection ends when they no longer trust its peer.
    pub credentials: watch::Receiver<Arc<Credentials>>,
    /// Which node a peer may ask for.
    pub authorize: Authorize,
    /// The gRPC services. Each finds the [`Peer`] in the extensions of a request and has to check it.
    pub services: Routes,
    /// Other protocols.
    pub protocols: Protocols,
    /// Limits of connections, of all protocols.
    pub limits: ConnectionLimits,
    /// Called for every connection that is refused because of a limit.
    pub on_refused: OnRefused,
}

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TlsServer")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// Serves until `stopped` is true, then at most a short grace period longer.
///
/// # Errors
/// The gRPC transport failed.
pub async fn serve_tls(
    mut server: TlsServer,
    stopped: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let services = std::mem::take(&mut server.services);
    let (accepted, incoming) = mpsc::channel(ACCEPTED);
    let incoming = tokio_stream::StreamExt::map(ReceiverStream::new(incoming), Ok);
    tokio::select! {
        ended = grpc::serve(incoming, services, stopped) => ended,
        never = server.accept(accepted) => match never {},
    }
}

impl TlsServer {
    async fn accept(self, accepted: mpsc::Sender<Connection>) -> Infallible {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
        let addresses = Slots::<IpAddr>::new(ConnectionLimits {
            each: HANDSHAKES_OF_ADDRESS,
            all: HANDSHAKES,
        });
        let router = Arc::new(Router {
            authorize: self.authorize,
            accepted,
            protocols: self.protocols,
            slots: Slots::new(self.limits),
            refused: Arc::new(Semaphore::new(REFUSALS)),
            refusals: Refusals::new(self.on_refused),
        });
        loop {
            // It cannot fail: the semaphore is never closed.
            let permit = Arc::clone(&handshakes).acquire_owned().await;
            let (stream, address) = match self.listener.accept().await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!("no connection can be accepted: {error}; trying again");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            };
            let Ok(slot) = addresses.take(address.ip()) else {
                let client = address.ip().to_string();
                router.refusals.report(Refusal::TooManyHandshakes, &client);
                continue;
            };
            let credentials = self.credentials.clone();
            let router = Arc::clone(&router);
            tokio::spawn(async move {
                let handshake = router.handshake(stream, &credentials);
                let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
                drop((permit, slot));
                match handshake {
                    Ok(Ok(stream)) => router.route(stream, address, credentials).await,
                    // The peer sent nothing: a probe of the port.
                    Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                        tracing::debug!(%address, "a connection was closed before the TLS handshake: {error}");
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(%address, "a connection is refused: {error}");
                    }
                    Err(_) => {
                        tracing::warn!(
                            %address,
                            "a connection is refused: no TLS handshake within {HANDSHAKE_TIMEOUT:?}"
                        );
                    }
                }
            });
        }
    }
}

/// Hands each connection to the server of its protocol.
struct Router {
    authorize: Authorize,
    /// Connections of gRPC.
    accepted: mpsc::Sender<Connection>,
    protocols: Protocols,
    slots: Arc<Slots<Client>>,
    /// Permits to stay open until the reason of a refusal is received.
    refused: Arc<Semaphore>,
    refusals: Refusals,
}

impl Router {
    async fn handshake(
        &self,
        stream: TcpStream,
        credentials: &watch::Receiver<Arc<Credentials>>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        // Small responses must not wait for the acknowledgement of earlier ones.
        stream.set_nodelay(true)?;
        let protocols = [HTTP2].into_iter().chain(self.protocols.keys().copied());
        let server = credentials.borrow().server(protocols);
        TlsAcceptor::from(Arc::new(server)).accept(stream).await
    }

    async fn route(
        &self,
        stream: TlsStream<TcpStream>,
        address: SocketAddr,
        credentials: watch::Receiver<Arc<Credentials>>,
    ) {
        let (_, connection) = stream.get_ref();
        let protocol = connection.alpn_protocol().map(<[u8]>::to_vec);
        let chain: Arc<[CertificateDer<'static>]> = connection
            .peer_certificates()
            .map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect())
            .unwrap_or_default();
        let Some(certificate) = chain.first().cloned() else {
            return;
        };
        let client: Client = (self.authorize)(&certificate).map(Arc::from);
        let slot = self.slots.take(client.clone());
        if let Err(refusal) = slot {
            let name = client.as_deref().unwrap_or("a client that is no proxy");
            self.refusals.report(refusal, name);
        }
        if protocol.as_deref() == Some(HTTP2) {
            let refusal = slot.as_ref().err().copied();
            let admission = match slot {
                Ok(slot) => Admission::Client(slot),
                Err(_) => match Arc::clone(&self.refused).try_acquire_owned() {
                    Ok(permit) => Admission::Refused(permit),
                    Err(_) => return,
                },
            };
            let peer = Peer::new(client, refusal, chain, credentials);
            let connection = Connection::new(stream, peer, admission);
            // It fails when the server has ended.
            let _ = self.accepted.send(connection).await;
            return;
        }
        let Ok(slot) = slot else {
            return;
        };
        let receiver = protocol.and_then(|name| self.protocols.get(name.as_slice()));
        let Some(receiver) = receiver else {
            tracing::warn!(%address, "a connection is refused: its protocol (ALPN) is not served here");
            return;
        };
        let connection = ProtocolConnection {
            stream,
            certificate,
            address,
            _slot: ClientSlot(slot),
        };
        if receiver.try_send(connection).is_err() {
            tracing::warn!(%address, "a connection is refused: too many of its protocol wait");
        }
    }
}
