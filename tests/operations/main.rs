//! Replicas of the operator on a real Kubernetes API server: who leads, and what they are allowed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod election;
mod forwarder;
#[path = "../kubernetes/mod.rs"]
mod kubernetes;
#[path = "../loopback/mod.rs"]
mod loopback;
mod rights;
#[path = "../tool/mod.rs"]
mod tool;
