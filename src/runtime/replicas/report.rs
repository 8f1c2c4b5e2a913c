//! The reporting side: a connection to the leader, which reconnects after an error and when another replica leads.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::protocol::{ALIVE, Frame, PROTOCOL, put};
use crate::transport::Credentials;
use crate::transport::certificates::SERVER_NAME;
use crate::xds::{SnapshotStore, Status};

/// Timeout of connecting to the leader, and of sending to it.
const LEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest and longest wait before the next connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Most rejections of a node that are sent: they are for people, and the length of a frame is limited.
const MOST_REJECTIONS: usize = 32;
/// Longest message of a rejection, in bytes.
const MESSAGE_LENGTH: usize = 2048;

/// Reports this replica's proxies to the leader until the task ends.
///
/// `leader` is the leader's address (`HOST:PORT`); none while this replica leads or no leader is known.
pub async fn report(
    store: Arc<SnapshotStore>,
    replica: String,
    mut leader: watch::Receiver<Option<String>>,
    mut credentials: watch::Receiver<Arc<Credentials>>,
) {
    let mut wait = BACKOFF.0;
    loop {
        let address = leader.borrow_and_update().clone();
        let newest = credentials.borrow_and_update().clone();
        let Some(address) = address else {
            if leader.changed().await.is_err() {
                return;
            }
            continue;
        };
        let reporting = async {
            let stream = tokio::time::timeout(LEADER_TIMEOUT, connect(&address, &newest))
                .await
                .map_err(|_| timed_out())??;
            tracing::info!(leader = address, "this replica reports to the leader");
            send_report(stream, &store, &replica).await
        };
        let started = tokio::time::Instant::now();
        tokio::select! {
            ended = reporting => {
                let Err::<Infallible, _>(error) = ended;
                if started.elapsed() > BACKOFF.1 {
                    wait = BACKOFF.0;
                }
                tracing::warn!(
                    leader = address,
                    "the connection to the leader ended: {error}; reconnecting in {wait:?}"
                );
            }
            changed = leader.changed() => match changed {
                Ok(()) => { wait = BACKOFF.0; continue }
                Err(_) => return,
            },
            // The leader may accept only the new ones.
            Ok(()) = credentials.changed() => continue,
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(BACKOFF.1),
            Ok(()) = leader.changed() => wait = BACKOFF.0,
        }
    }
}

async fn connect(
    address: &str,
    credentials: &Credentials,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let client = credentials.client(PROTOCOL).map_err(io::Error::other)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
}

/// Sends all nodes, then those that change; returns when the connection is closed.
pub(super) async fn send_report(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    store: &SnapshotStore,
    replica: &str,
) -> io::Result<Infallible> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut changes = store.changes();
    let mut sent: HashMap<Arc<str>, Status> = HashMap::new();
    send(&mut write, &[Frame::Replica(replica.to_owned())]).await?;
    let known = store.nodes_known();
    let mut frames = changed_nodes(store, known, &mut sent);
    frames.push(Frame::Complete);
    send(&mut write, &frames).await?;
    let mut alive = tokio::time::interval(ALIVE);
    alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut buffer = [0; 1];
    loop {
        let frames = tokio::select! {
            nodes = changes.next() => changed_nodes(store, nodes, &mut sent),
            _ = alive.tick() => vec![Frame::Alive],
            // The leader never sends anything, so this is the end of the connection.
            read = read.read(&mut buffer) => return Err(match read {
                Ok(_) => io::Error::new(io::ErrorKind::ConnectionAborted, "the leader closed the connection"),
                Err(error) => error,
            }),
        };
        send(&mut write, &frames).await?;
    }
}

/// Returns a frame for each node whose status differs from the one that was sent last.
fn changed_nodes(
    store: &SnapshotStore,
    nodes: impl IntoIterator<Item = Arc<str>>,
    sent: &mut HashMap<Arc<str>, Status>,
) -> Vec<Frame> {
    let mut frames = Vec::new();
    for node in nodes {
        let status = shortened(store.status(&node));
        if sent.get(&node).unwrap_or(&Status::default()) == &status {
            continue;
        }
        frames.push(Frame::Node {
            name: node.to_string(),
            status: status.clone(),
        });
        put(sent, node, status);
    }
    frames
}

fn shortened(mut status: Status) -> Status {
    status.rejections.truncate(MOST_REJECTIONS);
    for rejection in &mut status.rejections {
        let end = rejection.message.floor_char_boundary(MESSAGE_LENGTH);
        rejection.message.truncate(end);
    }
    status
}

async fn send(write: &mut (impl AsyncWrite + Unpin), frames: &[Frame]) -> io::Result<()> {
    let mut lines = Vec::new();
    for frame in frames {
        serde_json::to_writer(&mut lines, frame)?;
        lines.push(b'\n');
    }
    let sending = async {
        write.write_all(&lines).await?;
        write.flush().await
    };
    tokio::time::timeout(LEADER_TIMEOUT, sending)
        .await
        .map_err(|_| timed_out())?
}

fn timed_out() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the leader did not answer within {LEADER_TIMEOUT:?}"),
    )
}
