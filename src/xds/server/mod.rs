//! Delta ADS over gRPC: moves messages between sockets and [`Session`]s.
//!
//! Every stream is a task of its own with a short queue, so a slow proxy waits for itself alone. What is said is the
//! session's business; here are only sockets, the node's identity, keepalive and the end.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use super::session::{Event, Outcome, Output, ProtocolError, Session};
use super::store::{Connection, SnapshotStore};
use crate::transport::server::Peer;

/// Responses that wait for the socket of one stream. When they do not fit, the session is not asked for more: what
/// changes meanwhile is sent in its newest version later.
const RESPONSES_QUEUED: usize = 16;
/// How often a silent peer is asked whether it is still there, and how long it may think.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long streams may take to end once the server was told to stop.
const STOPPING: Duration = Duration::from_secs(1);

/// Why the server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process answers on the socket.
    #[error("{}: another process serves on this socket; stop it, or choose another path", .path.display())]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("{}: exists and is not a socket; move it away, or choose another path", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses the socket.
    #[error("{}: no socket can be made here: {source}; the folder must exist, be writable and have a short name", .path.display())]
    Bind {
        /// The socket's path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The transport broke.
    #[error("the xDS server ended: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Makes a Unix socket that only this user may open. A socket that a dead process left behind is replaced; one that
/// answers is not.
///
/// Must be called within a tokio runtime.
pub fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Bind {
        path: path.to_owned(),
        source,
    };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = std::fs::symlink_metadata(path)
                .map_err(failed)?
                .file_type()
                .is_socket();
            if !is_socket {
                return Err(ServeError::NotASocket {
                    path: path.to_owned(),
                });
            }
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(failed(error)),
                Ok(_) => {
                    return Err(ServeError::InUse {
                        path: path.to_owned(),
                    });
                }
            }
            std::fs::remove_file(path).map_err(failed)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
    .map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves on a Unix socket until `stop` is done.
pub async fn serve_unix(
    listener: UnixListener,
    store: Arc<SnapshotStore>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve(
        UnixListenerStream::new(listener),
        store,
        Access::Socket,
        stop,
    )
    .await
}

/// Who may speak as which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever can open the socket, as any.
    Socket,
    /// The owner of a certificate, as the node that it names.
    Certificate,
}

pub(crate) async fn serve<I, S>(
    incoming: I,
    store: Arc<SnapshotStore>,
    access: Access,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    I: Stream<Item = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (stopping, stopped) = watch::channel(false);
    let mut overdue = stopped.clone();
    let service = AggregatedDiscoveryServiceServer::new(Discovery {
        store,
        access,
        stopped,
    });
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, async move {
            stop.await;
            stopping.send_replace(true);
        });
    let overdue = async move {
        let _ = overdue.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(STOPPING).await;
    };
    tokio::select! {
        served = served => Ok(served?),
        () = overdue => Ok(()),
    }
}

/// The gRPC service.
#[derive(Debug)]
struct Discovery {
    store: Arc<SnapshotStore>,
    access: Access,
    stopped: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented(
            "only delta ADS is served: set `ads_config.api_type: DELTA_GRPC` in Envoy's bootstrap",
        ))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let peer = match self.access {
            Access::Socket => None,
            // Without one nobody is let in, whatever the reason.
            Access::Certificate => Some(
                request
                    .extensions()
                    .get::<Peer>()
                    .cloned()
                    .ok_or_else(|| Status::permission_denied("the peer is not known"))?,
            ),
        };
        let (responses, queue) = mpsc::channel(RESPONSES_QUEUED);
        let mut stopped = self.stopped.clone();
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let conversation = converse(&store, peer.as_ref(), request.into_inner(), &responses);
            let mut believed = peer.clone();
            let no_longer_believed = async move {
                match &mut believed {
                    Some(peer) => peer.is_no_longer_believed().await,
                    None => std::future::pending().await,
                }
            };
            let stopping = async move {
                // An error means that the server itself is gone, which is the same to a stream.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            let end = tokio::select! {
                // In this order: who is not believed any more is told nothing, however much there is to tell.
                biased;
                status = no_longer_believed => Err(status),
                () = stopping => Err(Status::unavailable("the xDS server is stopping")),
                end = conversation => end,
            };
            if let Err(status) = end {
                let is_refused = matches!(
                    status.code(),
                    tonic::Code::PermissionDenied | tonic::Code::Unauthenticated
                );
                if let Some(peer) = peer.filter(|_| is_refused) {
                    tracing::warn!("a proxy is refused: {}", status.message());
                    peer.refuse();
                }
                // When it cannot be told, the client is gone or does not read: there is nobody to tell.
                let _ = responses.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

async fn converse(
    store: &Arc<SnapshotStore>,
    peer: Option<&Peer>,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    responses: &mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else {
        return Ok(());
    };
    let node = node_of(&first)?;
    if let Some(peer) = peer {
        peer.check_node(node)?;
    }
    let mut connection = store.connect(node);
    tracing::info!(node = connection.node(), session = %connection.id(), "a proxy is connected");
    if !connection.has_snapshot() {
        tracing::warn!(
            node = connection.node(),
            "no firewall of this name is known: the proxy is told nothing until there is one"
        );
    }
    // What an earlier server gave it is still in force there.
    let mut has_configuration = !first.initial_resource_versions.is_empty();
    let mut session = Session::new();
    let mut output = session
        .on_request(&first)
        .map_err(|error| refusal(&error))?;
    loop {
        log(&connection, &output.events);
        connection.report(session.progress(), output.events);
        if let Some(peer) = peer.filter(|_| !output.responses.is_empty()) {
            // Its certificate may have ended since it was last looked at.
            peer.check_believed()?;
        }
        for response in output.responses {
            if responses.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
        output = tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => on_request(&mut session, &connection, &request)?,
                Ok(None) => return Ok(()),
                Err(status) => return Err(status),
            },
            snapshot = connection.next_snapshot() => match snapshot {
                Some(snapshot) if snapshot.is_cold_start() && has_configuration => Output::default(),
                Some(snapshot) => {
                    has_configuration = true;
                    session.on_snapshot(snapshot)
                }
                None => Output::default(),
            },
        };
    }
}

fn on_request(
    session: &mut Session,
    connection: &Connection,
    request: &DeltaDiscoveryRequest,
) -> Result<Output, Status> {
    // Later requests may leave the node out; one that names another node would be given that one's resources.
    if request
        .node
        .as_ref()
        .is_some_and(|node| node.id != connection.node())
    {
        return Err(Status::invalid_argument(
            "the node changed within a stream; open a stream for each node",
        ));
    }
    session.on_request(request).map_err(|error| refusal(&error))
}

fn node_of(request: &DeltaDiscoveryRequest) -> Result<&str, Status> {
    match request.node.as_ref().map(|node| node.id.as_str()) {
        Some(id) if !id.is_empty() => Ok(id),
        _ => Err(Status::invalid_argument(
            "the first request names no node: set `node.id` in Envoy's bootstrap to the firewall's name",
        )),
    }
}

fn refusal(error: &ProtocolError) -> Status {
    Status::resource_exhausted(error.to_string())
}

fn log(connection: &Connection, events: &[Event]) {
    let (node, session) = (connection.node(), connection.id());
    for event in events {
        match event {
            Event::Answered {
                kind,
                name,
                version,
                outcome: Outcome::Acknowledged,
            } => {
                tracing::debug!(node, %session, ?kind, name, version, "in force");
            }
            Event::Answered {
                kind,
                name,
                version,
                outcome: Outcome::Rejected { message },
            } => {
                tracing::warn!(node, %session, ?kind, name, version, message, "refused by the proxy; the old one stays");
            }
            Event::Missing { kind, name } => {
                tracing::warn!(node, %session, ?kind, name, "the proxy wants a resource that does not exist");
            }
            Event::UnservedType { type_url } => {
                tracing::warn!(node, %session, type_url, "the proxy wants a type that is not served");
            }
        }
    }
}

#[cfg(test)]
mod tests;
