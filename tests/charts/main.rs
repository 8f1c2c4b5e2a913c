//! The Helm charts: what they render, refuse and say, and what a real Kubernetes API server makes of them.
//!
//! `VAULTWALL_HELM` and the variables of `tests/api_server` name other programs than those that `dev/tools install` puts in
//! place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod generated_objects;
mod golden;
mod helm;
mod installed;
#[path = "../kubernetes/mod.rs"]
mod kubernetes;
mod labels;
#[path = "../loopback/mod.rs"]
mod loopback;
mod namespaces;
mod program;
mod releases;
mod rights;
#[path = "../tool/mod.rs"]
mod tool;
mod values;
