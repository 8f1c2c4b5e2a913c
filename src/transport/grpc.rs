//! Serves gRPC services on accepted connections, with keepalive and a grace period at the end. Opens no socket and
//! depends on no service. Its errors are those of both listeners.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// Interval of HTTP/2 pings on an idle connection, and how long a ping may remain unanswered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most streams of a connection at a time. Envoy has one for rules, or one for each kind of denials of a worker: four,
/// and more while it gives up earlier ones.
const STREAMS: u32 = 16;
/// Grace period for open streams to end after the server was stopped.
const GRACE_PERIOD: Duration = Duration::from_secs(1);

/// Why the server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process accepts connections on the socket.
    #[error("{}: another process serves on this socket; stop it, or choose another path", .path.display())]
    InUse {
        /// Path of the socket.
        path: PathBuf,
    },
    /// The path exists and is not a socket.
    #[error("{}: exists and is not a socket; move it away, or choose another path", .path.display())]
    NotASocket {
        /// Path of the file or folder.
        path: PathBuf,
    },
    /// The system refuses to create the socket.
    #[error(
        "{}: the socket cannot be created: {source}; the folder must exist, be writable and have a short name",
        .path.display()
    )]
    Bind {
        /// Path of the socket.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The gRPC transport failed.
    #[error("the xDS server ended: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `stopped` is true, then at most [`GRACE_PERIOD`] longer.
pub(super) async fn serve<I, S>(
    incoming: I,
    services: Routes,
    stopped: watch::Receiver<bool>,
) -> Result<(), ServeError>
where
    I: Stream<Item = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let wait = |mut stopped: watch::Receiver<bool>| async move {
        // An error means that the sender is dropped, which stops the server as well.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let stopping = wait(stopped.clone());
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS)
        .add_routes(services)
        .serve_with_incoming_shutdown(incoming, stopping);
    let overdue = async move {
        wait(stopped).await;
        tokio::time::sleep(GRACE_PERIOD).await;
    };
    tokio::select! {
        served = served => Ok(served?),
        () = overdue => Ok(()),
    }
}
