//! Delta ADS as a gRPC service: moves messages between streams and [`Session`]s.
//!
//! Each stream is a task with a short queue, so a slow proxy delays no other. The session decides what is sent; this
//! module checks the node's identity and ends streams. It opens no socket and does not depend on TLS: connections come
//! from the module `transport`, which attaches a [`Peer`] to each.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::event::{Event, Outcome, Output, ProtocolError};
use super::session::Session;
use super::store::{Connection, SnapshotStore};

/// Responses that wait for the socket of one stream. When the queue is full, the session is not asked for more; what
/// changes meanwhile is sent later in its newest version.
const RESPONSES_QUEUED: usize = 16;

/// The client of a connection. The transport attaches it to each request as an extension (tonic's connection info).
pub trait Peer: Clone + Send + Sync + 'static {
    /// Checks that the peer may ask for this node's configuration.
    ///
    /// # Errors
    /// The status to end the stream with.
    fn check_node(&self, node: &str) -> Result<(), Status>;

    /// Checks that the peer's credentials are valid now.
    ///
    /// # Errors
    /// The status to end the stream with.
    fn check_credentials(&self) -> Result<(), Status>;

    /// Waits until the peer's credentials are no longer valid. Returns the status to end the stream with.
    fn wait_invalid(&mut self) -> impl Future<Output = Status> + Send;

    /// Closes the connection after the peer was refused, so that it has to present credentials again.
    fn close(&self);
}

/// The gRPC service for peers of one kind. A request without such a peer is refused. Its streams end with status
/// `UNAVAILABLE` when `stopped` becomes true.
pub fn service<P: Peer>(
    store: Arc<SnapshotStore>,
    stopped: watch::Receiver<bool>,
) -> AggregatedDiscoveryServiceServer<Discovery<P>> {
    AggregatedDiscoveryServiceServer::new(Discovery {
        store,
        stopped,
        peer: PhantomData,
    })
}

/// Implementation of the gRPC service; see [`service`].
#[derive(Debug)]
pub struct Discovery<P> {
    store: Arc<SnapshotStore>,
    stopped: watch::Receiver<bool>,
    peer: PhantomData<fn() -> P>,
}

#[tonic::async_trait]
impl<P: Peer> AggregatedDiscoveryService for Discovery<P> {
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
        // Without a peer, the connection does not come from a transport that checks its clients.
        let peer = request.extensions().get::<P>().cloned();
        let peer = peer.ok_or_else(|| Status::permission_denied("the client is not identified"))?;
        let (responses, queue) = mpsc::channel(RESPONSES_QUEUED);
        let mut stopped = self.stopped.clone();
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let mut checked = peer.clone();
            let stopping = async move {
                // An error means that the server has ended, which means the same to a stream.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            let end = tokio::select! {
                // In this order: a peer without valid credentials receives nothing, even if responses are ready.
                biased;
                status = checked.wait_invalid() => Err(status),
                () = stopping => Err(Status::unavailable("the xDS server is stopping")),
                end = run_session(&store, &peer, request.into_inner(), &responses) => end,
            };
            if let Err(status) = end {
                match status.code() {
                    tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => {
                        tracing::warn!("a proxy is refused: {}", status.message());
                        peer.close();
                    }
                    // A limit is reached; the module that has the limit logs it.
                    tonic::Code::ResourceExhausted => peer.close(),
                    _ => {}
                }
                // It fails when the client has disconnected or does not read: then it cannot receive the status.
                let _ = responses.try_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

/// Runs the session of one stream until the client ends it.
async fn run_session<P: Peer>(
    store: &Arc<SnapshotStore>,
    peer: &P,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    responses: &mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else {
        return Ok(());
    };
    let node = node_of(&first)?;
    peer.check_node(node)?;
    let mut connection = store.connect(node);
    tracing::info!(node = connection.node(), session = %connection.id(), "a proxy is connected");
    if !connection.has_snapshot() {
        tracing::warn!(
            node = connection.node(),
            "this node has no snapshot; the proxy receives nothing until one is published"
        );
    }
    // A proxy that received configuration from an earlier server still enforces it.
    let mut has_configuration = !first.initial_resource_versions.is_empty();
    let mut session = Session::new();
    let mut output = session
        .on_request(&first)
        .map_err(|error| refusal(&error))?;
    loop {
        log(&connection, &output.events);
        connection.report(session.progress(), output.events);
        if !output.responses.is_empty() {
            // The certificate may have expired since the last check.
            peer.check_credentials()?;
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
    // Later requests may omit the node. One that names another node would receive that node's resources.
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
                tracing::warn!(
                    node, %session, ?kind, name, version, message,
                    "refused by the proxy; the earlier version stays in force"
                );
            }
            Event::Missing { kind, name } => {
                tracing::warn!(node, %session, ?kind, name, "the proxy asks for a resource that does not exist");
            }
            Event::UnservedType { type_url } => {
                tracing::warn!(node, %session, type_url, "the proxy asks for a type that is not served");
            }
        }
    }
}

#[cfg(test)]
mod tests;
