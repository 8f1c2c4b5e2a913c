//! Servers, clients and conditions that the tests, the benchmarks and the demos share.
//!
//! It starts real programs (etcd, kube-apiserver, Envoy, `OpenBao`) on loopback addresses of their own and ends them
//! with the process that started them. It does not use the `vaultwall` library, so that a change in there does not
//! build it again; what a test needs from the library, it passes as plain values.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a failure in here fails the test that uses it"
)]

pub mod address;
pub mod api_server;
pub mod client;
pub mod cluster;
pub mod cyclonus;
pub mod envoy;
pub mod issuer;
pub mod key_server;
pub mod mounted_files;
pub mod openbao;
pub mod process;
pub mod report;
pub mod token_search;
pub mod tokens;
pub mod tools;
pub mod wait;

pub use address::own_address;
pub use api_server::{ApiServer, AuditRecord, Pool, PooledServer};
pub use client::{Answer, Client, Verdict};
pub use issuer::Issuer;
pub use key_server::KeyServer;
pub use openbao::OpenBao;
pub use process::Process;
pub use tools::{tool, vaultwall};
