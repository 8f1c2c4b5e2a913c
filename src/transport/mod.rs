//! TLS between the operator, its replicas and the proxies: server, credentials and certificates.

pub mod certificates;
pub mod credentials;
pub mod server;

pub use credentials::{Credentials, CredentialsError};
pub use server::{Authorize, HTTP2, OtherConnection, TlsServer, serve_tls};
