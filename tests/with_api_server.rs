//! Tests with a real Kubernetes API server, and with the programs of `tests/with_tools.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]

mod api_server;
mod catalog {
    #[allow(dead_code, reason = "tests/pure.rs uses more of it")]
    pub(crate) mod manifests;
}
mod charts;
mod clients {
    #[allow(dead_code, reason = "tests/with_tools.rs uses more of it")]
    pub(crate) mod scene;
}
mod cluster_cli;
mod crd_tables;
mod files;
mod injected;
mod operations;
mod operator;
mod program;
mod roles;
mod services;
mod spellings;
mod standalone {
    #[allow(dead_code, reason = "tests/with_tools.rs uses more of it")]
    pub(crate) mod objects;
    #[allow(dead_code, reason = "tests/with_tools.rs uses more of it")]
    pub(crate) mod sandbox;
    #[allow(dead_code, reason = "tests/with_tools.rs uses more of it")]
    pub(crate) mod serve;
}
