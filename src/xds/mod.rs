//! The delta ADS server: hands every proxy its own firewall's Envoy resources and learns what it accepted.
//!
//! | module | what it is |
//! |---|---|
//! | [`resource`] | one resource: type, name, content version, encoded body |
//! | [`snapshot`] | all resources of one firewall, immutable |
//! | [`session`] | the protocol of one stream as a state machine without I/O |
//! | [`compiler`] | a firewall as a snapshot; only what a change touches is compiled again |
//! | [`store`] | the snapshots by node, who is connected, and what they acknowledged |
//! | [`changes`] | which nodes there is news of |
//! | [`server`] | tonic: sockets, streams, backpressure |
//! | [`server_tls`] | the same over mutual TLS, each peer bound to its own node |
//! | [`credentials`] | certificate, key and trusted authorities of one side |
//!
//! But for the compiler it may not look inside a resource: what a firewall means is decided by `policy`, and how Envoy is told by `compile`.
//! It fails closed in one direction only: a proxy is never given more than its own snapshot, and without a snapshot
//! it is told nothing at all, so that what was in force there stays in force.

pub mod changes;
pub mod resource;
pub mod server;
pub mod session;
pub mod snapshot;
pub mod store;
mod subscription;
#[cfg(test)]
mod testing;

pub use changes::Changes;
pub use resource::{Discoverable, Resource, ResourceType};
pub use server::{ServeError, bind_unix, serve_unix};
pub use session::{Event, Outcome, Output, Progress, ProtocolError, Rejection, Session};
pub use snapshot::Snapshot;
pub use store::{NotProgrammed, Report, SessionId, SnapshotStore, State, Status};
