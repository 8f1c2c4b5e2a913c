//! The operator as it is used: a real API server, the real program, a real Envoy that asks it over mutual TLS, and a real
//! `OpenBao` behind that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod authority;
#[path = "../standalone/client.rs"]
mod client;
mod enforcement;
mod idle;
mod keeping;
#[path = "../kubernetes/mod.rs"]
mod kubernetes;
#[path = "../loopback/mod.rs"]
mod loopback;
mod objects;
mod outages;
mod proxy;
mod references;
mod sandbox;
mod shown;
mod starts;
#[path = "../tool/mod.rs"]
mod tool;
#[path = "../standalone/vault.rs"]
mod vault;
mod watches;
