//! Connections to the operator and to standalone mode: sockets, TLS, peers, credentials and certificates.
//!
//! | module | what it is |
//! |---|---|
//! | [`tls`] | the TCP listener with mutual TLS; routes each connection by its protocol |
//! | [`unix`] | the Unix socket of standalone mode |
//! | `grpc` | serves gRPC services on either |
//! | [`peer`] | the client of a TLS connection, bound to its own node |
//! | `connection` | a TLS connection that can be closed when its peer is refused |
//! | `slots` | limits of connections |
//! | [`credentials`] | certificate, key and trusted authorities of one side |
//! | [`certificates`] | the certificate authority, and the identities in certificates |
//!
//! Another gRPC service on the TLS port is one more entry in [`TlsServer::services`]; another protocol is one more
//! entry in [`TlsServer::protocols`]. The TLS listener must not depend on a service. The Unix socket serves delta ADS
//! alone, and the peers of both implement the checks of that service, [`crate::xds::Peer`].

pub mod certificates;
mod connection;
pub mod credentials;
mod grpc;
pub mod peer;
mod slots;
pub mod tls;
pub mod unix;

pub use credentials::{Credentials, CredentialsError};
pub use grpc::ServeError;
pub use peer::Peer;
pub use slots::{ConnectionLimits, OnRefused, Refusal};
pub use tls::{Authorize, HTTP2, ProtocolConnection, Protocols, TlsServer, serve_tls};
pub use unix::{bind_unix, serve_unix};
