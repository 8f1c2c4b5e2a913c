//! The side that reports: a connection to the leader, opened again when it breaks or another replica leads.

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

use super::{ALIVE, Frame, PROTOCOL};
use crate::transport::Credentials;
use crate::transport::certificates::SERVER_NAME;
use crate::xds::{SnapshotStore, Status};

/// How long the leader may take to answer, and to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Shortest and longest wait before the leader is asked again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// What is sent of refusals at most: they are for people to read, and a frame has to stay within its limit.
const REFUSALS: usize = 32;
const WORDS: usize = 2048;

/// Reports this replica's proxies to the leader, for as long as the task lives.
///
/// `leader` is where the leader is reached (`HOST:PORT`); none while this replica leads or nobody does.
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
            let stream = tokio::time::timeout(PATIENCE, connect(&address, &newest))
                .await
                .map_err(|_| timed_out())??;
            tracing::info!(leader = address, "this replica reports to the leader");
            tell(stream, &store, &replica).await
        };
        let began = tokio::time::Instant::now();
        tokio::select! {
            ended = reporting => {
                let Err::<Infallible, _>(error) = ended;
                if began.elapsed() > BACKOFF.1 {
                    wait = BACKOFF.0;
                }
                tracing::warn!(leader = address, "reporting to the leader ended: {error}; trying again in {wait:?}");
            }
            changed = leader.changed() => match changed {
                Ok(()) => { wait = BACKOFF.0; continue }
                Err(_) => return,
            },
            // The leader may believe only the new ones.
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

/// Tells all nodes, then what changes; returns when the connection is of no more use.
pub(crate) async fn tell(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    store: &SnapshotStore,
    replica: &str,
) -> io::Result<Infallible> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut changes = store.changes();
    let mut told: HashMap<Arc<str>, Status> = HashMap::new();
    send(&mut write, &[Frame::Replica(replica.to_owned())]).await?;
    let known = store.nodes_known();
    let mut frames = news(store, known, &mut told);
    frames.push(Frame::Complete);
    send(&mut write, &frames).await?;
    let mut alive = tokio::time::interval(ALIVE);
    alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut nothing = [0; 1];
    loop {
        let frames = tokio::select! {
            nodes = changes.next() => news(store, nodes, &mut told),
            _ = alive.tick() => vec![Frame::Alive],
            // The leader never says anything, so this is the end.
            read = read.read(&mut nothing) => return Err(match read {
                Ok(_) => io::Error::new(io::ErrorKind::ConnectionAborted, "the leader closed the connection"),
                Err(error) => error,
            }),
        };
        send(&mut write, &frames).await?;
    }
}

/// Frames of the nodes that are not as they were told.
fn news(
    store: &SnapshotStore,
    nodes: impl IntoIterator<Item = Arc<str>>,
    told: &mut HashMap<Arc<str>, Status>,
) -> Vec<Frame> {
    let mut frames = Vec::new();
    for node in nodes {
        let status = shortened(store.status(&node));
        if told.get(&node).unwrap_or(&Status::default()) == &status {
            continue;
        }
        frames.push(Frame::Node {
            name: node.to_string(),
            status: status.clone(),
        });
        super::put(told, node, status);
    }
    frames
}

fn shortened(mut status: Status) -> Status {
    status.rejections.truncate(REFUSALS);
    for rejection in &mut status.rejections {
        let end = rejection.message.floor_char_boundary(WORDS);
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
    tokio::time::timeout(PATIENCE, sending)
        .await
        .map_err(|_| timed_out())?
}

fn timed_out() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the leader does not answer in {PATIENCE:?}"),
    )
}
