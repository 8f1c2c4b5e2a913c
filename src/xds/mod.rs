//! The delta ADS protocol: sends every proxy its own firewall's Envoy resources and records what it acknowledged.
//!
//! | module | what it is |
//! |---|---|
//! | [`resource`] | one resource: type, name, content version, encoded body |
//! | [`snapshot`] | all resources of one firewall, immutable |
//! | [`event`] | results of a session: responses, events, progress |
//! | [`session`] | the protocol of one stream, as a state machine without I/O |
//! | [`store`] | the snapshots by node, the connected sessions, and what they acknowledged |
//! | [`changes`] | which nodes have another status |
//! | [`server`] | the gRPC service: streams, backpressure, the check of the peer's node |
//!
//! This module must not look inside a resource: `policy` decides what a firewall means, and `compile` writes the
//! resources. It depends neither on sockets nor on TLS: `transport` accepts connections and identifies their peers. It
//! fails closed in one direction only: a proxy never receives more than its own snapshot. Without a snapshot it
//! receives nothing at all, so that what was in force there stays in force.

pub mod changes;
pub mod event;
pub mod resource;
pub mod server;
pub mod session;
pub mod snapshot;
pub mod store;
mod subscription;
#[cfg(test)]
mod testing;

pub use changes::Changes;
pub use event::{Event, Outcome, Output, Progress, ProtocolError, Rejection};
pub use resource::{Discoverable, Resource, ResourceType};
pub use server::{Peer, service};
pub use session::Session;
pub use snapshot::Snapshot;
pub use store::{NotProgrammed, Report, SessionId, SnapshotStore, State, Status};
