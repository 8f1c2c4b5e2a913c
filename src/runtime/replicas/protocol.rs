//! Frames of the protocol between replicas: their form, and how they are read. It decides nothing about their content.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use crate::xds::Status;

/// ALPN name of the protocol; an incompatible form of frames gets another number.
pub const PROTOCOL: &[u8] = b"vaultwall-replica/1";
/// Interval of keep-alive frames.
pub const ALIVE: Duration = Duration::from_secs(1);
/// Time without a frame after which a replica counts as disconnected.
pub const SILENCE: Duration = Duration::from_secs(5);

/// Longest frame, in bytes. The leader closes a connection that sends a longer one.
const MAX_FRAME_LENGTH: u64 = 1 << 20;

/// One frame of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Frame {
    Replica(String),
    Node { name: String, status: Status },
    Complete,
    Alive,
}

/// Reads the next frame; `None` at the end of the connection.
pub(super) async fn next_frame(
    stream: &mut (impl AsyncBufReadExt + Unpin),
) -> io::Result<Option<Frame>> {
    let mut line = Vec::new();
    let mut limited = (&mut *stream).take(MAX_FRAME_LENGTH);
    let read = limited.read_until(b'\n', &mut line);
    match tokio::time::timeout(SILENCE, read).await {
        Err(_) => return Err(unexpected("no frame arrived in time")),
        Ok(Ok(0)) => return Ok(None),
        // A killed process does not close TLS.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Ok(read) => read?,
    };
    if line.pop() != Some(b'\n') {
        return Err(unexpected("a frame is incomplete or too long"));
    }
    let frame = serde_json::from_slice(&line);
    frame
        .map(Some)
        .map_err(|error| unexpected(&format!("a frame cannot be decoded: {error}")))
}

pub(super) fn unexpected(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Stores a node's status; removes a node with the default status.
pub(super) fn put(nodes: &mut HashMap<Arc<str>, Status>, node: Arc<str>, status: Status) {
    if status == Status::default() {
        nodes.remove(&node);
    } else {
        nodes.insert(node, status);
    }
}
