//! `explain`, `validate` and `render` of a cluster: a real API server says the same as files with the same objects, and what
//! keeps it from answering is said in words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod connection;
#[path = "../kubernetes/mod.rs"]
mod kubernetes;
#[path = "../loopback/mod.rs"]
mod loopback;
mod plugin;
mod rights;
mod same_answers;
mod scene;
#[path = "../tool/mod.rs"]
mod tool;
