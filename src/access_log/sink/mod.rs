//! Receives the stream of denials of proxies, as Envoy's gRPC access-log service, on the port of the xDS server.
//!
//! A stream belongs to the vault that the client's certificate names. No record waits for another part of the operator:
//! what exceeds a limit is dropped and counted, so that a proxy is never slowed. Opens no socket, and stores nothing.

mod intake;
mod sequences;

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use envoy_types::pb::envoy::data::accesslog::v3::TcpAccessLogEntry;
use envoy_types::pb::envoy::service::accesslog::v3::access_log_service_server::{
    AccessLogService, AccessLogServiceServer,
};
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use envoy_types::pb::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, StreamAccessLogsResponse,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

use super::Record;
use crate::clock::{Clock, Uptime};
use crate::compile::envoy::{NUMBER, STREAM};
use crate::xds::Peer;

use intake::{Intake, QUEUE};
pub use sequences::{Sequence, Sequences};

/// Largest message that is received. Envoy sends what a worker collected, which is hardly more than 16 KiB; the first
/// message has its list of extensions in addition, 60 KB in Envoy 1.40. Not more, because an empty entry has two bytes,
/// and takes nearly a thousand times as many when it is read.
const MESSAGE: usize = 96 * 1024;
/// Largest record that is taken, in bytes of all its texts: twice the largest that Vaultwall configures.
const RECORD: usize = 8 * 1024;
/// Field with the vault.
const VAULT: &str = "vault";

/// Fate of a record that a proxy sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was handed on to the reader of the queue.
    Taken,
    /// The vault sent more records in a second than are taken.
    Rate,
    /// Too many records of the vault, or in all, wait in the queue.
    Queue,
    /// It claims another vault than the client's certificate.
    Vault,
    /// It is too large, or no record of Vaultwall.
    Unreadable,
}

impl Outcome {
    /// Every outcome, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Taken,
        Self::Rate,
        Self::Queue,
        Self::Vault,
        Self::Unreadable,
    ];

    /// Name of the outcome, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Rate => "rate",
            Self::Queue => "queue",
            Self::Vault => "vault",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Counts what happens to records, for metrics.
pub trait Observer: Send + Sync {
    /// Counts a record by its outcome.
    fn record(&self, outcome: Outcome);
    /// Sets how many records are known to be lost between proxies and this replica.
    fn missing(&self, records: u64);
}

/// A record in the queue. It keeps a place in the queue until it is dropped.
#[derive(Debug)]
pub struct Received {
    /// The vault, as the client's certificate names it.
    pub vault: Arc<str>,
    /// Number of the record, `SEQUENCE/NUMBER`; none if the request was not decided.
    pub number: Option<String>,
    /// The record.
    pub record: Record,
    _place: OwnedSemaphorePermit,
}

/// Receiver of all streams.
pub struct Sink {
    intake: Mutex<Intake>,
    queue: mpsc::Sender<Received>,
    observer: Arc<dyn Observer>,
    clock: Clock,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl Sink {
    /// Creates it, and the queue of the records that it takes.
    pub fn new(observer: Arc<dyn Observer>, clock: Clock) -> (Arc<Self>, mpsc::Receiver<Received>) {
        let (queue, received) = mpsc::channel(QUEUE);
        let sink = Self {
            intake: Mutex::default(),
            queue,
            observer,
            clock,
        };
        (Arc::new(sink), received)
    }

    /// The sequences of a vault's records that arrived here; `None` if no record did.
    pub fn sequences(&self, vault: &str) -> Option<Sequences> {
        let intake = self.intake();
        intake.known(vault).map(|vault| vault.sequences.clone())
    }

    /// Takes the records of one message.
    fn take(&self, vault: &Arc<str>, message: StreamAccessLogsMessage) {
        let entries = match message.log_entries {
            Some(LogEntries::TcpLogs(logs)) => logs.log_entry,
            Some(LogEntries::HttpLogs(logs)) => {
                let count = || self.observer.record(Outcome::Unreadable);
                logs.log_entry.iter().for_each(|_| count());
                return;
            }
            None => return,
        };
        let now = self.clock.uptime();
        for entry in entries {
            self.observer.record(self.take_one(vault, entry, now));
        }
        let missing = self.intake().missing();
        self.observer.missing(missing);
    }

    fn take_one(&self, vault: &Arc<str>, entry: TcpAccessLogEntry, now: Uptime) -> Outcome {
        let Some(common) = entry.common_properties else {
            return Outcome::Unreadable;
        };
        let mut tags = common.custom_tags;
        if tags.get(VAULT).is_none_or(|claimed| **claimed != **vault) {
            return Outcome::Vault;
        }
        let place = {
            let mut intake = self.intake();
            let known = intake.vault(vault, now);
            // A record that is dropped here is not lost on the way: its number counts as arrived.
            if let Some(number) = tags.get(NUMBER) {
                known.sequences.note(number, now);
            }
            if !known.may_send(now) {
                return Outcome::Rate;
            }
            known.place()
        };
        let Some(place) = place else {
            return Outcome::Queue;
        };
        let size: usize = tags.iter().map(|(tag, text)| tag.len() + text.len()).sum();
        if size > RECORD {
            return Outcome::Unreadable;
        }
        let number = tags.remove(NUMBER);
        let Ok(record) = Record::from_texts(tags) else {
            return Outcome::Unreadable;
        };
        let received = Received {
            vault: Arc::clone(vault),
            number,
            record: record.bounded(),
            _place: place,
        };
        match self.queue.try_send(received) {
            Ok(()) => Outcome::Taken,
            Err(_) => Outcome::Queue,
        }
    }

    fn intake(&self) -> MutexGuard<'_, Intake> {
        // Every update leaves consistent numbers, so a poisoned lock is safe to use.
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gRPC service for peers of one kind. A request without such a peer is refused. Its streams end with status
/// `UNAVAILABLE` when `stopped` becomes true.
pub fn service<P: Peer>(
    sink: Arc<Sink>,
    stopped: watch::Receiver<bool>,
) -> AccessLogServiceServer<Streams<P>> {
    let streams = Streams {
        sink,
        stopped,
        peer: PhantomData,
    };
    AccessLogServiceServer::new(streams).max_decoding_message_size(MESSAGE)
}

/// Implementation of the gRPC service; see [`service`].
#[derive(Debug)]
pub struct Streams<P> {
    sink: Arc<Sink>,
    stopped: watch::Receiver<bool>,
    peer: PhantomData<fn() -> P>,
}

#[tonic::async_trait]
impl<P: Peer> AccessLogService for Streams<P> {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let peer = request.extensions().get::<P>().cloned();
        let peer = peer.ok_or_else(|| Status::permission_denied("the client is not identified"))?;
        let (mut checked, mut stopped) = (peer.clone(), self.stopped.clone());
        let end = tokio::select! {
            // In this order: of a peer without valid credentials nothing is taken.
            biased;
            status = checked.wait_invalid() => Err(status),
            // An error means that the server has ended, which means the same to a stream.
            _ = stopped.wait_for(|stopped| *stopped) => {
                Err(Status::unavailable("the server for access logs is stopping"))
            }
            end = receive(&self.sink, &peer, request.into_inner()) => end,
        };
        match end {
            Ok(()) => Ok(Response::new(StreamAccessLogsResponse {})),
            Err(status) => {
                match status.code() {
                    tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => {
                        tracing::warn!("a stream of denials is refused: {}", status.message());
                        peer.close();
                    }
                    // A limit is reached; the module that has the limit logs it.
                    tonic::Code::ResourceExhausted => peer.close(),
                    _ => {}
                }
                Err(status)
            }
        }
    }
}

/// Receives one stream until the client ends it.
async fn receive<P: Peer>(
    sink: &Sink,
    peer: &P,
    mut messages: Streaming<StreamAccessLogsMessage>,
) -> Result<(), Status> {
    let Some(first) = messages.message().await? else {
        return Ok(());
    };
    let identifier = first.identifier.as_ref();
    let node = identifier.and_then(|identifier| identifier.node.as_ref());
    let vault: Arc<str> = match node {
        Some(node) if !node.id.is_empty() => node.id.as_str().into(),
        _ => {
            return Err(Status::invalid_argument(
                "the first message names no node: set `node.id` in Envoy's bootstrap to the firewall's name",
            ));
        }
    };
    peer.check_node(&vault)?;
    if identifier.is_none_or(|identifier| identifier.log_name != STREAM) {
        return Err(Status::invalid_argument(format!(
            "only the access log {STREAM} is received: the proxy's listeners are not those of this version"
        )));
    }
    let mut message = Some(first);
    while let Some(received) = message {
        sink.take(&vault, received);
        message = messages.message().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
