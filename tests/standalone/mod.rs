//! `vaultwall serve` with a real Envoy and a real `OpenBao`: changes under load, faults, bad input.
//!
//! Every test has loopback addresses, a folder and processes of its own, and waits for conditions, never for time to
//! pass. `VAULTWALL_ENVOY` and `VAULTWALL_BAO` name other binaries than those that `dev/tools install` puts in place.

mod access_log;
mod arguments;
mod audit;
mod budgets;
mod by_hand;
mod denials;
mod files;
mod load;
mod members;
pub(crate) mod objects;
mod outages;
mod protected;
mod proxies;
pub(crate) mod sandbox;
pub(crate) mod serve;
mod service;
mod signals;
mod sockets;
mod tokens;
